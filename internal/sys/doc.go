// Package sys performs what the plans say: mounts, loop devices, dm-verity, kernel modules, switch_root and reboot.
//
// Machine is everything that init asks of the kernel. The real one, Linux, refuses to switch the root or to reboot
// unless it is process 1.
package sys
