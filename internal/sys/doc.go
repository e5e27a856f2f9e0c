// Package sys performs what the plans say: mounts, loop devices, kernel modules, switch_root and reboot.
package sys
