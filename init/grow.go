package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/slotboot/slotboot/internal/gpt"
	"github.com/slotboot/slotboot/internal/sys"
	"github.com/slotboot/slotboot/overlay"
)

// worthGrowing is how many bytes the data partition must gain: a disk that is but a little larger than its image, and
// the few MiB that ext4 leaves at its end, are no reason to write a partition table.
const worthGrowing = 16 << 20

// growData lets the data partition and its file system have the rest of the disk, which is larger than the image that
// was written to it. It is done once; afterwards it costs two reads a boot. What fails leaves a note and a disk that
// boots as before. On a trial with a watchdog it waits for a boot that may take its time.
func (b *boot) growData() {
	if b.cfg.keepSize || b.watchdog != nil || b.found.data.number == 0 || b.found.data.fs.Type != "ext4" {
		return
	}
	err := b.try(func() error {
		from, to, err := b.growPartition()
		if err == nil && to > from {
			b.m.Say(fmt.Sprintf("slotboot: grow device=%s from=%dMiB to=%dMiB", b.found.data.node, from>>20, to>>20))
		}
		return err
	})
	if err != nil {
		b.note("grow data partition: " + err.Error())
	}
}

// growPartition returns the size of the file system before and after, in bytes.
func (b *boot) growPartition() (from, to int64, err error) {
	data := b.found.data
	extent, err := b.extent()
	if err != nil {
		return 0, 0, err
	}
	from = extent.BlockSize * extent.Blocks
	most := extent.BlockSize * extent.MostBlocks
	if most-from < worthGrowing {
		return from, from, nil
	}
	size, err := b.growTable(data)
	if err != nil {
		return 0, 0, err
	}
	if to = min(size, most); to-from < worthGrowing {
		return from, from, nil
	}
	if err := b.remountData(0); err != nil {
		return 0, 0, err
	}
	err = b.m.GrowExt4(b.m.Path(overlay.Data), to/extent.BlockSize)
	if err = errors.Join(err, b.remountData(overlay.ReadOnly)); err != nil {
		return 0, 0, err
	}
	if extent, err = b.extent(); err != nil {
		return 0, 0, err
	}
	return from, extent.BlockSize * extent.Blocks, nil
}

func (b *boot) extent() (sys.Extent, error) {
	f, err := os.Open(b.m.Path(b.found.data.node))
	if err != nil {
		return sys.Extent{}, err
	}
	defer f.Close()
	return sys.ReadExtent(f)
}

// growTable makes the partition reach to the end of the disk, on the disk and for the kernel, and returns its size. A
// partition that was not meant to grow has size 0.
func (b *boot) growTable(d *device) (int64, error) {
	node := b.m.Path("/dev/" + strings.ReplaceAll(d.disk, "!", "/"))
	sectors, _ := strconv.ParseInt(b.devices.attribute("/sys/class/block/"+d.disk+"/size"), 10, 64)
	logical, err := strconv.Atoi(b.devices.attribute("/sys/class/block/" + d.disk + "/queue/logical_block_size"))
	if err != nil {
		logical = 512
	}
	f, err := os.Open(node)
	if err != nil {
		return 0, err
	}
	plan, err := gpt.Grow(f, logical, sectors*512, d.number, worthGrowing) // sysfs counts in 512 bytes, whatever the disk does
	f.Close()
	switch {
	case errors.Is(err, gpt.ErrNoTable), errors.Is(err, gpt.ErrNotLast):
		return 0, nil
	case err != nil:
		return 0, err
	}
	if err := writeTable(node, plan.Writes); err != nil {
		return 0, err
	}
	if plan.NewSize != plan.Size {
		if err := b.m.ResizePartition(node, d.number, plan.Start, plan.NewSize); err != nil {
			return 0, err
		}
	}
	return plan.NewSize, nil
}

// writeTable does the writes one after the other: each is on the disk before the next.
func writeTable(node string, writes []gpt.Write) (err error) {
	if len(writes) == 0 {
		return nil
	}
	f, err := os.OpenFile(node, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for _, w := range writes {
		if _, err := f.WriteAt(w.Data, w.Offset); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}
