// Package durable changes files so that a power cut leaves the old content or the new: in place, synced, read back.
//
// It also holds FS, the one door through which slotctl and init write to a disk, so that tests can record each call,
// replay it up to any point, or let it fail.
package durable
