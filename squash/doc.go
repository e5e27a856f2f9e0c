// Package squash writes and reads squashfs 4.0 images without root, without a mount and without other programs.
package squash
