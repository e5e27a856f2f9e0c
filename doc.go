// Package slotboot boots container images on bare metal, in two slots that fall back by themselves.
//
// The programs are mkimage (on the build machine), init (PID 1 in the initramfs) and slotctl (on the device).
// See README.md for the picture and docs/ for the formats.
package slotboot
