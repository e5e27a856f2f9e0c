package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/ext4"
	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/slots"
)

// bootSet is what GRUB would load from a disk.
type bootSet struct {
	slot           slots.Slot
	data           string // PARTUUID of the data partition
	kernel, initrd []byte
	args           string // of slot.cfg
}

// dataName is the GPT name of the data partition, as package disk gives it.
const dataName = "slotboot-data"

// readBootSet reads the default slot of the raw disk at path.
func readBootSet(path string) (*bootSet, error) {
	in, err := openInput(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if !in.isDisk() {
		return nil, in.not("a raw disk with a GPT")
	}
	f := in.File
	var r report
	if err := r.readDisk(f); err != nil {
		return nil, err
	}
	set := &bootSet{slot: slots.A}
	if r.Disk.State != nil {
		set.slot = r.Disk.State.Default
	}
	for _, p := range r.Disk.Partitions {
		if p.Name != dataName {
			continue
		}
		set.data = p.GUID
		if err := set.read(f, p); err != nil {
			return nil, damage(fmt.Errorf("read slot %v: %w", set.slot, err))
		}
		return set, nil
	}
	return nil, notIntact{fmt.Errorf("it has no partition called %s", dataName)}
}

// read reads the slot's files from the data partition. The reader of ext4 is for disks of people's own making: on a
// damaged one it may panic, which becomes an error.
func (s *bootSet) read(f *os.File, p partitionReport) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("damaged ext4: %v", r)
		}
	}()
	fs, err := ext4.Read(file.New(f, true), p.Size, p.Start, 512)
	if err != nil {
		return err
	}
	dir := "slots/" + s.slot.String() + "/"
	if s.kernel, err = fs.ReadFile(dir + bundle.KernelName); err != nil {
		return err
	}
	if s.initrd, err = fs.ReadFile(dir + bundle.InitrdName); err != nil {
		return err
	}
	cfg, err := fs.ReadFile(dir + bundle.SlotCfgName)
	if err != nil {
		return err
	}
	s.args = slotArgs(string(cfg))
	return nil
}

// readHeld reads which slot sets a data partition holds; nil if it cannot be read.
func readHeld(f *os.File, p partitionReport) (sets map[string]held) {
	defer func() {
		if recover() != nil { // see read
			sets = nil
		}
	}()
	fs, err := ext4.Read(file.New(f, true), p.Size, p.Start, 512)
	if err != nil {
		return nil
	}
	sets = map[string]held{}
	for _, slot := range []slots.Slot{slots.A, slots.B} {
		var h held
		if raw, err := fs.ReadFile("slots/" + slot.String() + "/" + bundle.ManifestName); err == nil {
			if m, err := bundle.ParseManifest(raw); err == nil {
				h = held{m.Version, m.Build}
			}
		}
		sets[slot.String()] = h
	}
	return sets
}

// slotArgs returns the kernel arguments in a slot.cfg, which slotCfg writes.
func slotArgs(cfg string) string {
	_, rest, _ := strings.Cut(cfg, `set slotboot_args="`)
	args, _, _ := strings.Cut(rest, `"`)
	return strings.ReplaceAll(args, `\$`, "$")
}
