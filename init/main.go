// Command init is PID 1 of a slotboot initramfs.
package main

func main() {}
