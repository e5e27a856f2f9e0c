package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/slotboot/slotboot/internal/durable"
	"github.com/slotboot/slotboot/internal/gpt"
	"github.com/slotboot/slotboot/internal/sys"
	"github.com/slotboot/slotboot/overlay"
)

// worthGrowing is how many bytes the data partition must gain: a disk that is but a little larger than its image, and
// the few MiB that ext4 leaves at its end, are no reason to write a partition table.
const worthGrowing = 16 << 20

// persistentLabel is that of the partition for what the device's own programs keep. Where it is behind the data partition, it
// is the one that grows. Nobody else has mounted it yet.
const persistentLabel = "persistent"

// growTries is how often it is tried. A cut leaves the count as it is; a kernel that crashes at it must not do so at every
// boot for ever.
const growTries = 3

// growFile counts the tries, on the data partition.
const growFile = stateDir + "/growing"

// growing is where the partition that grows is mounted meanwhile, if that is not the data partition.
const growing = overlay.Base + "/growing"

// growLast lets the last partition and its file system have the rest of the disk, which is larger than the image that
// was written to it. It is done once; afterwards it costs three reads a boot. What fails leaves a note and a disk that
// boots as before. On a trial with a watchdog it waits for a boot that may take its time.
//
// Nothing may be mounted yet. Linux works out how many groups an ext4 has before it replays the journal, and grows one
// whose journal enlarged it into a BUG (seen with 6.1): so what a cut has left is replayed by a mount of its own.
func (b *boot) growLast() {
	if b.cfg.keepSize || b.watchdog != nil || b.found.data == nil {
		return
	}
	last := *b.found.data
	for _, d := range b.devices.scan() {
		if d.disk == last.disk && d.number > 0 && d.fs.Label == persistentLabel {
			last = d
			break
		}
	}
	if last.number == 0 || last.fs.Type != "ext4" {
		return
	}
	err := b.try(func() error { return b.growIfWorthwhile(last) })
	b.unmountAll()
	os.Remove(b.m.Path(growing))
	if err != nil {
		b.note("grow " + last.node + ": " + err.Error())
	}
	b.lap("grow")
}

func (b *boot) growIfWorthwhile(last device) error {
	extent, plan, err := b.room(last)
	if err != nil || plan.NewSize == 0 {
		return err
	}
	// Not by mountData: it would do without a journal that cannot be replayed.
	data := overlay.Mount{Source: b.found.data.node, Target: overlay.Data, Type: b.found.data.fs.Type}
	writable, own := data, last.node != data.Source
	if own {
		writable.Source, writable.Target = last.node, growing
	}
	if extent.Dirty {
		if err := b.mount(writable); err != nil {
			return err
		}
		b.unmountAll()
		if extent, plan, err = b.room(last); err != nil || plan.NewSize == 0 {
			return err
		}
	}
	from := extent.Blocks * extent.BlockSize
	if err := b.mount(data); err != nil {
		return err
	}
	if own {
		if err := b.mount(writable); err != nil {
			return err
		}
	}
	if err := b.countTry(); err != nil {
		return err
	}
	if err := b.growTable(last, plan); err != nil {
		return err
	}
	to := min(plan.NewSize, extent.MostBlocks*extent.BlockSize)
	if err := b.m.GrowExt4(b.m.Path(writable.Target), to/extent.BlockSize); err != nil {
		return err
	}
	b.m.Say(fmt.Sprintf("slotboot: grow device=%s from=%dMiB to=%dMiB", last.node, from>>20, to>>20))
	return b.files.Remove(b.m.Path(growFile))
}

// countTry counts another try, or refuses it.
func (b *boot) countTry() error {
	text, err := os.ReadFile(b.m.Path(growFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	tries := len(text)
	if tries >= growTries {
		return fmt.Errorf("given up after %d tries; remove %s to let it try again", tries, strings.TrimPrefix(growFile, overlay.Data))
	}
	dir, file := b.m.Path(stateDir), b.m.Path(growFile)
	if err := b.files.Mkdir(dir); err != nil {
		return err
	}
	if err := b.files.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return durable.Create(b.files, file, dir, []byte(strings.Repeat("+", tries+1)))
}

// room returns how large the file system on d is, and where its partition would go. A NewSize of 0 says that there is
// nothing to do.
func (b *boot) room(d device) (sys.Extent, gpt.Plan, error) {
	f, err := os.Open(b.m.Path(d.node))
	if err != nil {
		return sys.Extent{}, gpt.Plan{}, err
	}
	extent, err := sys.ReadExtent(f)
	f.Close()
	if err != nil || (extent.MostBlocks-extent.Blocks)*extent.BlockSize < worthGrowing {
		return extent, gpt.Plan{}, err
	}
	sectors, _ := strconv.ParseInt(b.devices.attribute("/sys/class/block/"+d.disk+"/size"), 10, 64)
	if f, err = os.Open(b.wholeDisk(d)); err != nil {
		return extent, gpt.Plan{}, err
	}
	defer f.Close()
	plan, err := gpt.Grow(f, b.devices.sector(d.disk), sectors*512, d.number, worthGrowing) // sysfs counts in 512 bytes, whatever the disk does
	if errors.Is(err, gpt.ErrNoTable) || errors.Is(err, gpt.ErrNotLast) {
		return extent, gpt.Plan{}, nil // it was not meant to grow
	}
	if err == nil && plan.NewSize-extent.Blocks*extent.BlockSize < worthGrowing {
		return extent, gpt.Plan{}, nil
	}
	return extent, plan, err
}

// wholeDisk returns the path of the disk that d is on.
func (b *boot) wholeDisk(d device) string {
	return b.m.Path("/dev/" + strings.ReplaceAll(d.disk, "!", "/"))
}

// growTable writes the partition table and tells the kernel.
func (b *boot) growTable(d device, plan gpt.Plan) error {
	if err := writeTable(b.wholeDisk(d), plan.Writes); err != nil || plan.NewSize == plan.Size {
		return err
	}
	return b.m.ResizePartition(b.wholeDisk(d), d.number, plan.Start, plan.NewSize)
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
