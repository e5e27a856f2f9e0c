// Package delta makes and applies updates that look inside compressed squashfs blocks, and that give back the same
// file bit for bit.
package delta
