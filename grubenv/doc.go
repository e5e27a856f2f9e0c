// Package grubenv reads and edits GRUB's environment block: the 1024-byte file that load_env and save_env share with
// the operating system. It works on bytes; who writes them, and how, is the caller's business.
package grubenv
