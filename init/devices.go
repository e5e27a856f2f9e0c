package main

import (
	"fmt"
	"os"
	"path"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/slotboot/slotboot/internal/sys"
)

// device is a block device that init could mount.
type device struct {
	node   string // /dev/vda2
	disk   string // kernel name of the disk it is on: vda; its own name if it is no partition
	entry  sys.Partition
	fs     sys.Identity
	number int // in the partition table; 0 for a whole disk
}

func (d device) is(s source) bool {
	switch s.kind {
	case "PARTUUID":
		return d.entry.UUID == s.value
	case "UUID":
		return d.fs.UUID == s.value
	case "LABEL":
		return d.fs.Label == s.value
	}
	return d.node == s.value
}

// devices looks for block devices. It reads each device once, however often it is asked.
type devices struct {
	m    sys.Machine
	seen map[string]device // by kernel name
}

// scan returns the block devices there are, in the order of their names.
func (ds *devices) scan() []device {
	entries, _ := os.ReadDir(ds.m.Path("/sys/class/block"))
	present := make(map[string]device, len(entries))
	var all []device
	for _, entry := range entries {
		name := entry.Name()
		d, ok := ds.seen[name]
		if !ok {
			if d, ok = ds.look(name); !ok {
				continue
			}
		}
		present[name] = d
		all = append(all, d)
	}
	ds.seen = present
	sort.Slice(all, func(i, j int) bool { return all[i].node < all[j].node })
	return all
}

// look reads what the device called name says about itself. It returns false for a device that holds nothing to boot
// from, or that is not ready: floppies and CD drives are left alone, because reading them without a medium takes
// seconds.
func (ds *devices) look(name string) (device, bool) {
	for _, prefix := range []string{"loop", "ram", "zram", "fd", "sr", "dm-", "nbd"} {
		if strings.HasPrefix(name, prefix) {
			return device{}, false
		}
	}
	folder := "/sys/class/block/" + name
	if ds.attribute(folder+"/size") == "0" {
		return device{}, false
	}
	d := device{node: "/dev/" + strings.ReplaceAll(name, "!", "/"), disk: name}
	d.number, _ = strconv.Atoi(ds.attribute(folder + "/partition"))
	if d.number > 0 {
		link, _ := os.Readlink(ds.m.Path(folder))
		d.disk = path.Base(path.Dir(link))
		d.entry = ds.entry(d)
	}
	f, err := os.Open(ds.m.Path(d.node))
	if err != nil {
		return device{}, false
	}
	defer f.Close()
	d.fs, _ = sys.Identify(f) // something else than a file system of ours may still be asked for by its partition
	return d, true
}

func (ds *devices) entry(d device) sys.Partition {
	f, err := os.Open(ds.m.Path("/dev/" + strings.ReplaceAll(d.disk, "!", "/")))
	if err != nil {
		return sys.Partition{}
	}
	defer f.Close()
	p, _ := sys.ReadPartition(f, ds.sector(d.disk), d.number) // a disk without a table we read has no PARTUUIDs
	return p
}

// sector returns the size of a disk's logical blocks in bytes.
func (ds *devices) sector(disk string) int {
	size, err := strconv.Atoi(ds.attribute("/sys/class/block/" + disk + "/queue/logical_block_size"))
	if err != nil || size < 512 || size > 65536 {
		return 512
	}
	return size
}

func (ds *devices) attribute(file string) string {
	text, _ := os.ReadFile(ds.m.Path(file))
	return strings.TrimSpace(string(text))
}

// found is the partitions of a boot.
type found struct {
	data, env *device // nil: not there
	doubts    []string
}

// pick chooses among all the devices. Where several answer to a name (a cloned disk is still plugged in), the pair on
// one disk wins, then the first by name, and a doubt says so.
func pick(all []device, cfg config) found {
	var f found
	want := cfg.data
	if want.kind == "" {
		want = source{"LABEL", "slotboot"}
	}
	datas := matching(all, want)
	var envs []device
	if cfg.env.kind != "" {
		envs = matching(all, cfg.env)
	}
	for _, d := range datas {
		if cfg.env.kind == "" {
			envs = espOn(all, d.disk)
		}
		for _, e := range envs {
			if f.env == nil && e.disk == d.disk {
				f.data, f.env = &d, &e
			}
		}
	}
	if f.data == nil && len(datas) > 0 {
		f.data = &datas[0]
	}
	if f.env == nil && len(envs) > 0 {
		f.env = &envs[0]
	}
	if len(datas) > 1 {
		f.doubts = append(f.doubts, fmt.Sprintf("%d partitions are %v, taking %s", len(datas), want, f.data.node))
	}
	if cfg.env.kind != "" && len(envs) > 1 {
		f.doubts = append(f.doubts, fmt.Sprintf("%d partitions are %v, taking %s", len(envs), cfg.env, f.env.node))
	}
	return f
}

func matching(all []device, s source) []device {
	var out []device
	for _, d := range all {
		if d.is(s) {
			out = append(out, d)
		}
	}
	return out
}

// espOn returns the EFI system partitions on a disk: where the environment block is if nobody says where.
func espOn(all []device, disk string) []device {
	var out []device
	for _, d := range all {
		if d.disk == disk && d.entry.ESP() {
			out = append(out, d)
		}
	}
	return out
}

// await looks for the partitions, loads drivers for the devices that show up meanwhile, those that first wants before the
// others, and returns what there is when it has both, or at the deadline. Without needEnv the data partition is enough.
func (ds *devices) await(cfg config, mods *modules, needEnv bool, first func(driver string) bool) found {
	deadline := ds.m.Uptime() + cfg.wait
	for wanted := first; ; {
		f := pick(ds.scan(), cfg)
		if f.data != nil && (f.env != nil || !needEnv || cfg.env.kind == "") {
			return f
		}
		if mods.coldplug(wanted) {
			continue // perhaps that was the disk, or the bus that it is on
		}
		wanted = anyDriver
		if mods.coldplug(wanted) {
			continue
		}
		left := deadline - ds.m.Uptime()
		if left <= 0 {
			return f
		}
		ds.m.Wait(min(left, time.Second))
	}
}
