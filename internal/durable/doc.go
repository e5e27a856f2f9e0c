// Package durable replaces file contents so that they survive a power cut: in place, synced, read back.
package durable
