// Package kernel finds the kernel in a root file system, by layout and never by distribution name, and chooses the
// modules an initrd needs to reach the root on any machine.
//
// A root file system is an fs.FS whose Open follows symbolic links inside the root. Nothing is run and nothing needs
// depmod: where its files are missing, the modules' own .modinfo sections are read.
package kernel
