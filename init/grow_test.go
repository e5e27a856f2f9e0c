package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/internal/sys"
	"github.com/slotboot/slotboot/internal/sys/systest"
	"github.com/slotboot/slotboot/slots"
)

const grown = "slotboot: grow device=/dev/vda2 from=32MiB to=61MiB"

// smallOnLarge makes the disk one of 64 MiB, whose image ended at 36 MiB: a boot partition from 1 to 2 MiB, and the data
// partition with an ext4 from 2 to 34 MiB, in blocks of 4 KiB.
func (r *rig) smallOnLarge(edit func(super []byte)) {
	r.t.Helper()
	r.layOut([][2]uint64{{2048, 4095}, {4096, 69631}})
	r.enlarge("/dev/vda2", 32, edit)
}

// layOut writes the partition table of an image of 36 MiB to the disk of 64 MiB.
func (r *rig) layOut(spans [][2]uint64) {
	r.t.Helper()
	le := binary.LittleEndian
	disk := make([]byte, 34*512)
	copy(disk, r.Read("/dev/vda"))
	entries := disk[1024:]
	for i, span := range spans {
		le.PutUint64(entries[128*i+32:], span[0])
		le.PutUint64(entries[128*i+40:], span[1])
	}
	h := disk[512:1024]
	for at, v := range map[int]uint64{24: 1, 32: 73727, 40: 34, 48: 73694, 72: 2} {
		le.PutUint64(h[at:], v)
	}
	for at, v := range map[int]uint32{8: 0x10000, 12: 92, 80: 128, 84: 128, 88: crc32.ChecksumIEEE(entries)} {
		le.PutUint32(h[at:], v)
	}
	clear(h[16:20])
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
	r.Write("/dev/vda", string(disk))
	if err := os.Truncate(r.Path("/dev/vda"), 64<<20); err != nil {
		r.t.Fatal(err)
	}
	r.Write("/sys/class/block/vda/size", "131072\n")
}

// enlarge makes the ext4 on a node one of so many MiB that can grow.
func (r *rig) enlarge(node string, mib uint32, edit func(super []byte)) {
	r.t.Helper()
	le := binary.LittleEndian
	super := []byte(r.Read(node))
	sb := super[1024:]
	for at, v := range map[int]uint32{0x04: mib << 8, 0x18: 2, 0x20: 32768, 0x5c: 0x10, 0x60: 0x80} {
		le.PutUint32(sb[at:], v)
	}
	le.PutUint16(sb[0xce:], 4)
	le.PutUint16(sb[0xfe:], 64)
	if edit != nil {
		edit(sb)
	}
	r.Write(node, string(super))
}

func TestAPersistentPartitionBehindTheDataPartitionGrowsInItsPlace(t *testing.T) {
	const guid = "77777777-7777-7777-7777-777777777777"
	r := newRig(t, slots.Fresh())
	r.RemoveDisk("vda")
	kept := t.TempDir()
	r.plug(systest.Partition{PartUUID: guid, Type: "ext4", UUID: "88888888-8888-8888-8888-888888888888", Label: "persistent", Content: kept})
	r.layOut([][2]uint64{{2048, 4095}, {4096, 36863}, {36864, 69631}})
	r.enlarge("/dev/vda2", 16, nil)
	r.enlarge("/dev/vda3", 16, nil)
	r.boot("slotboot.slot=A slotboot.why=committed" + where)
	r.wantLast("exec /sbin/init")
	r.wantSaid("slotboot: grow device=/dev/vda3 from=16MiB to=45MiB", "slotboot: boot slot=A why=committed count=0 limit=3 saved=n")
	if !r.Did("grow /run/slotboot/growing to 11520") || r.Did("grow /run/slotboot/data") {
		t.Errorf("calls:\n%s", strings.Join(r.Calls, "\n"))
	}
	if entries, _ := os.ReadDir(kept); len(entries) > 0 {
		t.Errorf("growing leaves %v on the persistent partition, want nothing", entries)
	}
	if slices.Contains(r.Mounted(), growing) {
		t.Errorf("still mounted: %v", r.Mounted())
	}
}

func TestTheDataPartitionGrowsBeforeAnythingElseAndTheBootGoesOn(t *testing.T) {
	r := newRig(t, slots.Fresh())
	r.smallOnLarge(nil)
	r.boot("slotboot.slot=A slotboot.why=committed" + where)
	r.wantLast("exec /sbin/init")
	r.wantSaid(grown, "slotboot: boot slot=A why=committed count=0 limit=3 saved=n")
	want := []string{
		"mount ext4 /dev/vda2 on /run/slotboot/data", "resize partition 2 of /dev/vda to 2097152+63963136", "grow /run/slotboot/data to 15616", "unmount /run/slotboot/data",
		"mount ext4 /dev/vda2 on /run/slotboot/data ro",
	}
	at := 0
	for _, call := range r.Calls {
		if at < len(want) && strings.HasPrefix(call, want[at]) {
			at++
		}
	}
	if at < len(want) {
		t.Errorf("no %q in this order among\n%s", want[at], strings.Join(r.Calls, "\n"))
	}
	if p, err := sys.ReadPartition(strings.NewReader(r.Read("/dev/vda")), 512, 2); err != nil || p.UUID != dataGUID {
		t.Errorf("the data partition is %+v, %v", p, err)
	}
	if left := r.Read("/run/slotboot/data/state/growing"); left != "" {
		t.Errorf("the count of tries stays: %q", left)
	}
}

// Whatever goes wrong, the slot boots.
func TestAnyFailureToGrowIsANoteAndTheBootGoesOn(t *testing.T) {
	r := newRig(t, slots.Fresh())
	r.smallOnLarge(nil)
	r.boot("slotboot.slot=A slotboot.why=committed" + where)
	first := slices.IndexFunc(r.Calls, func(c string) bool { return strings.HasPrefix(c, "mount ext4") })
	last := slices.IndexFunc(r.Calls, func(c string) bool { return strings.HasPrefix(c, "unmount") })
	for n := first; n < last; n++ {
		r := newRig(t, slots.Fresh())
		r.smallOnLarge(nil)
		r.Fail = func(call string) error {
			if len(r.Calls) == n+1 {
				return errors.New("no such luck")
			}
			return nil
		}
		r.boot("slotboot.slot=A slotboot.why=committed" + where)
		if got := r.Last(); got != "exec /sbin/init" {
			t.Errorf("after a failed %q the boot ends with %q", r.Calls[n], got)
		}
		if strings.Contains(strings.Join(r.Said, "\n"), "grow") || !strings.Contains(strings.Join(r.Noted, "\n"), "no such luck") {
			t.Errorf("after a failed %q: said %q, noted %q", r.Calls[n], r.Said, r.Noted)
		}
	}
	if last-first < 3 {
		t.Errorf("%d calls can fail, want the mount, the partition and the file system", last-first)
	}
}

func TestAKernelThatCrashesAtGrowingIsAskedThreeTimes(t *testing.T) {
	r := newRig(t, slots.Fresh())
	for n := 1; n <= 5; n++ {
		r.smallOnLarge(nil)
		r.Calls, r.Noted = nil, nil
		// A crash looks like an end of everything at the call that grows.
		r.Fail = func(call string) error {
			if strings.HasPrefix(call, "grow ") {
				return errors.New("crash")
			}
			return nil
		}
		r.boot("slotboot.slot=A slotboot.why=committed" + where)
		if asked := r.Did("grow "); asked != (n <= 3) {
			t.Errorf("boot %d: the kernel is asked to grow: %v\n%q", n, asked, r.Noted)
		}
		r.unplugMounts()
	}
	if noted := fmt.Sprint(r.Noted); !strings.Contains(noted, "given up after 3 tries; remove /state/growing") {
		t.Errorf("noted %s, want that it was given up", noted)
	}
}

// unplugMounts makes the machine one that has just been switched on.
func (r *rig) unplugMounts() {
	r.t.Helper()
	r.Fail = nil
	for _, target := range slices.Backward(r.Mounted()) {
		if err := r.Unmount(target); err != nil {
			r.t.Fatal(err)
		}
	}
}

// Linux would grow from the size that it saw before the journal.
func TestWhatACutHasLeftIsReplayedByAMountOfItsOwn(t *testing.T) {
	r := newRig(t, slots.Fresh())
	r.smallOnLarge(func(sb []byte) { sb[0x60] |= 4 })
	r.boot("slotboot.slot=A slotboot.why=committed" + where)
	r.wantLast("exec /sbin/init")
	var calls []string
	for _, c := range r.Calls {
		if strings.Contains(c, "/run/slotboot/data") {
			calls = append(calls, strings.Fields(c)[0])
		}
	}
	if got := strings.Join(calls, " "); !strings.HasPrefix(got, "mount unmount mount grow") {
		t.Errorf("with a journal to replay: %s, want mount, unmount, and only then a mount that grows", got)
	}
}

func TestWhatIsNotToGrowIsNotTouched(t *testing.T) {
	for name, tc := range map[string]struct {
		cmdline string
		edit    func([]byte)
	}{
		"asked not to":           {" slotboot.grow=0", nil},
		"no room in the ext4":    {"", func(sb []byte) { sb[0x5c] = 0 }},
		"meta_bg":                {"", func(sb []byte) { sb[0x60] |= 0x10 }},
		"errors":                 {"", func(sb []byte) { sb[0x3a] |= 2 }},
		"as large as can be":     {"", func(sb []byte) { binary.LittleEndian.PutUint32(sb[4:], 15616) }},
		"but little left":        {"", func(sb []byte) { binary.LittleEndian.PutUint32(sb[4:], 15616-4095) }},
		"nonsense: no blocks":    {"", func(sb []byte) { clear(sb[0x20:0x24]) }},
		"nonsense: huge blocks":  {"", func(sb []byte) { sb[0x18] = 200 }},
		"nonsense: descriptors":  {"", func(sb []byte) { binary.LittleEndian.PutUint16(sb[0xfe:], 65535) }},
		"nonsense: 2^63 blocks":  {"", func(sb []byte) { binary.LittleEndian.PutUint32(sb[0x150:], 1<<31) }},
		"nonsense: first block":  {"", func(sb []byte) { binary.LittleEndian.PutUint32(sb[0x14:], 1<<32-1) }},
		"no gain on a full disk": {"", func(sb []byte) { binary.LittleEndian.PutUint32(sb[4:], 1<<20) }},
	} {
		r := newRig(t, slots.Fresh())
		r.smallOnLarge(tc.edit)
		before := r.Read("/dev/vda")
		r.boot("slotboot.slot=A slotboot.why=committed" + where + tc.cmdline)
		if r.Last() != "exec /sbin/init" || r.Did("resize") || r.Did("grow") || r.Read("/dev/vda") != before {
			t.Errorf("%s: it boots with %q and these calls:\n%s", name, r.Last(), strings.Join(r.Calls, "\n"))
		}
	}
}
