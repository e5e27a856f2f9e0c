// Package overlay plans the root file system of a boot: the squashfs below, a tmpfs above, and the mounts that move
// along. A plan is a list of values; package internal/sys performs it.
package overlay
