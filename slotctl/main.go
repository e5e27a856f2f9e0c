// Command slotctl runs on the device: it shows, installs, commits and rolls back slots.
package main

func main() {}
