// Package qemutests boots the built files under QEMU and holds the README's promises against what the guest did.
package qemutests
