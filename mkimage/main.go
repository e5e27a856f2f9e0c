// Command mkimage turns a container image into slot sets, bundles, deltas and bootable disks.
package main

func main() {}
