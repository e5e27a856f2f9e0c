// Package grub generates the grub.cfg that applies the boot policy of package slots before any kernel runs, and that
// hands its decision over on the kernel command line.
package grub
