package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/slotboot/slotboot/internal/sys"
	"github.com/slotboot/slotboot/overlay"
)

// The files of a slot set that init reads, or looks for.
const (
	kernelName   = "vmlinuz"
	initrdName   = "initrd"
	rootfsName   = "rootfs.squashfs"
	manifestName = "manifest.json"
)

// verityName is the name of the dm-verity device of the root.
const verityName = "slotboot-root"

// slotDir is the folder of the slot's set.
func (b *boot) slotDir() string { return overlay.Data + "/slots/" + b.slot.String() }

// mountData mounts the data partition read-only, unless it is mounted. An ext4 whose journal cannot be replayed is
// mounted without it, which is enough to boot: slot sets are written out in full before they are activated.
func (b *boot) mountData() error {
	for _, target := range b.mounted {
		if target == overlay.Data {
			return nil
		}
	}
	data := b.found.data
	if data.fs.Type == "" {
		return fmt.Errorf("mount data partition %s: %w", data.node, sys.ErrUnknownFormat)
	}
	mount := overlay.Mount{Source: data.node, Target: overlay.Data, Type: data.fs.Type, Flags: overlay.ReadOnly}
	err := b.mount(mount)
	if err != nil && mount.Type == "ext4" {
		mount.Data = "noload"
		if b.mount(mount) == nil {
			b.note(err.Error() + ": mounted without its journal; run e2fsck on " + data.node)
			return nil
		}
	}
	return err
}

// remountData makes the data partition read-only or, with flags 0, read-write.
func (b *boot) remountData(flags overlay.Flags) error {
	return b.m.Mount(overlay.Mount{Source: b.found.data.node, Target: overlay.Data, Type: b.found.data.fs.Type, Flags: overlay.Remount | flags})
}

// mountRoot mounts the root of the slot at overlay.NewRoot.
func (b *boot) mountRoot() error {
	if err := b.mountData(); err != nil {
		return err
	}
	var err error
	if b.manifest, err = b.readManifest(); err != nil {
		return err
	}
	rootfs := b.slotDir() + "/" + rootfsName
	info, err := os.Stat(b.m.Path(rootfs))
	switch {
	case err != nil:
		return fmt.Errorf("find root file system: %w", err)
	case b.manifest.rootfsSize >= 0 && info.Size() != b.manifest.rootfsSize:
		return fmt.Errorf("find root file system: %s has %d bytes, its manifest says %d", rootfs, info.Size(), b.manifest.rootfsSize)
	}
	b.mods.settle() // a driver's device is there before the driver is ready
	b.mods.facility("loop", "/dev/loop-control")
	device, release, err := b.m.AttachLoop(b.m.Path(rootfs))
	if err != nil {
		return err
	}
	defer release()
	if v := b.manifest.verity; v != nil {
		b.mods.facility("dm_mod", "/dev/mapper/control")
		b.mods.byName("dm_verity")
		v.OnCorruption = b.cfg.verity
		opened, releaseVerity, err := b.m.OpenVerity(verityName, device, *v)
		if err != nil && v.OnCorruption != "" { // the kernel is older than the option
			b.note(err.Error() + ": opened without " + v.OnCorruption)
			v.OnCorruption = ""
			opened, releaseVerity, err = b.m.OpenVerity(verityName, device, *v)
		}
		if err != nil {
			return err
		}
		device = opened
		defer releaseVerity()
	}
	for _, m := range overlay.Plan(device, b.cfg.overlay) {
		if err := b.mount(m); err != nil {
			return err
		}
	}
	return b.likeImageRoot()
}

// likeImageRoot gives the merged root the permissions and owner of the image's root folder: an overlay shows those of
// its upper layer.
func (b *boot) likeImageRoot() error {
	var st unix.Stat_t
	if err := unix.Stat(b.m.Path(overlay.Rootfs), &st); err != nil {
		return fmt.Errorf("stat %s: %w", overlay.Rootfs, err)
	}
	root := b.m.Path(overlay.NewRoot)
	if err := errors.Join(os.Chown(root, int(st.Uid), int(st.Gid)), unix.Chmod(root, st.Mode&0o7777)); err != nil {
		return fmt.Errorf("set permissions of the root: %w", err)
	}
	return nil
}

// readManifest reads the slot's manifest. A slot without one boots, unchecked, unless this initrd holds keys.
func (b *boot) readManifest() (manifest, error) {
	text, err := b.readSlotFile(manifestName, maxManifest)
	missing := errors.Is(err, fs.ErrNotExist)
	if err == nil || missing {
		if err := b.checkSignature(text); err != nil {
			return manifest{}, err
		}
	}
	if missing {
		b.note("slot " + b.slot.String() + " has no " + manifestName)
		return manifest{rootfsSize: -1}, nil
	}
	if err != nil {
		return manifest{}, err
	}
	m, err := parseManifest(text)
	if err != nil {
		return manifest{}, fmt.Errorf("read %s of slot %v: %w", manifestName, b.slot, err)
	}
	return m, nil
}

// findInit returns the program to run as the image's init: init= if it is given, else the first there is of those that
// the kernel would try. Unlike the kernel it does not go on to a shell after an init that is there and does not run: a
// device that sits at a prompt neither works nor falls back.
func (b *boot) findInit() (string, error) {
	list := []string{"/sbin/init", "/etc/init", "/bin/init", "/bin/sh"}
	if b.cfg.init != "" {
		list = []string{b.cfg.init}
	}
	for _, init := range list {
		if b.inImage(init) {
			return init, nil
		}
	}
	return "", fmt.Errorf("find init: slot %v has none of %v", b.slot, list)
}

// bringVfat loads the file system of the boot partition, which slotctl mounts, for an image that has no modprobe or no
// module of it: a committed boot does not need it, and it takes a tenth of the time that init takes.
func (b *boot) bringVfat() {
	_, err := os.Stat(b.m.Path(overlay.NewRoot + b.mods.dir + "/modules.dep"))
	if err != nil || !b.inImage("/sbin/modprobe") {
		b.mods.filesystem("vfat")
	}
}

// inImage says whether name is an executable file in the new root, its symbolic links followed as after switch_root.
func (b *boot) inImage(name string) bool {
	root, err := unix.Open(b.m.Path(overlay.NewRoot), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, path.Clean("/"+name), &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if errors.Is(err, unix.ENOSYS) { // before Linux 5.6; execve will tell the rest
		_, err := os.Lstat(b.m.Path(overlay.NewRoot + path.Clean("/"+name)))
		return err == nil
	}
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&0o111 != 0
}
