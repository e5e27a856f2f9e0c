package rootfs

import (
	"strings"
)

// rule is an entry of the clean list.
type rule struct {
	pattern string
	why     string
	// files keeps the folders, because a program expects them with their owners.
	files bool
}

// cleanList is what a booted root has no use for: caches that package managers fill again, what was true for the build
// only, and initrds, because a slot set has its own.
var cleanList = []rule{
	{"/var/cache/apt/**", "package cache", true},
	{"/var/lib/apt/lists/**", "package lists", true},
	{"/var/lib/dpkg/*-old", "backup of the package database", false},
	{"/var/cache/debconf/**", "package cache", false},
	{"/var/cache/ldconfig/*", "linker cache", false},
	{"/var/cache/dnf/*", "package cache", false},
	{"/var/cache/libdnf5/*", "package cache", false},
	{"/var/cache/yum/*", "package cache", false},
	{"/var/cache/zypp/**", "package cache", true},
	{"/var/cache/apk/*", "package cache", false},
	{"/etc/apk/cache/*", "package cache", false},
	{"/var/cache/pacman/pkg/*", "package cache", false},
	{"/var/lib/pacman/sync/*", "package lists", false},
	{"/var/cache/xbps/*", "package cache", false},
	{"/var/log/apt/*", "log of the build", false},
	{"/var/log/{dpkg,alternatives,bootstrap,dnf,dnf.librepo,dnf.rpm,hawkey,pacman,apk}.log", "log of the build", false},
	{"/var/lib/systemd/random-seed", "secret that every device would share", false},
	{"/boot/initrd*", "initrd: the slot set has its own", false},
	{"/boot/initramfs*", "initrd: the slot set has its own", false},
	{"/usr/lib/modules/*/{initrd,initrd.img,initramfs.img}", "initrd: the slot set has its own", false},
	{"/lib/modules/*/{initrd,initrd.img,initramfs.img}", "initrd: the slot set has its own", false},
	{"/initrd.img", "link to an initrd", false},
	{"/initrd.img.old", "link to an initrd", false},
	{"/run/*", "a tmpfs when booted", false},
	{"/tmp/*", "temporary files", false},
	{"/var/tmp/*", "temporary files", false},
	{"/.dockerenv", "says that a container engine runs", false},
	{"/dev/.dockerenv", "says that a container engine runs", false},
}

// CleanOptions says what Clean removes.
type CleanOptions struct {
	// KeepList leaves the built-in list out: only Exclude counts.
	KeepList bool
	// Exclude removes more: paths from the root ("/usr/share/doc/**"), or without a slash names at any depth ("*.pyc").
	Exclude []string
	// Include keeps what would be removed, and the folders it is in. It wins over Exclude and the list.
	Include []string
}

// Removed says what one pattern removed.
type Removed struct {
	Pattern string   `json:"pattern"`
	Why     string   `json:"why"`
	Paths   []string `json:"paths"`   // of what matched, without what is below
	Entries int      `json:"entries"` // with what is below
	Bytes   int64    `json:"bytes"`   // of files of which no name is left
}

// Clean removes from t what a booted system has no use for and returns what that was, Exclude first, then the list;
// patterns that removed nothing are left out. Symbolic links are never followed: /var/cache -> /data/cache is not looked into.
func Clean(t *Tree, opt CleanOptions) ([]Removed, error) {
	include, err := parseGlobs(opt.Include)
	if err != nil {
		return nil, err
	}
	exclude, err := parseGlobs(opt.Exclude)
	if err != nil {
		return nil, err
	}
	type job struct {
		glob
		rule
	}
	var jobs []job
	// What is asked for goes first, so that what it removes is known to be its doing.
	for _, g := range exclude {
		jobs = append(jobs, job{g, rule{g.text, "excluded", false}})
	}
	if !opt.KeepList {
		for _, r := range cleanList {
			for _, p := range braces(r.pattern) {
				g, err := parseGlob(p)
				if err != nil {
					return nil, err
				}
				r.pattern = p
				jobs = append(jobs, job{g, r})
			}
		}
	}
	var all []Removed
	for _, j := range jobs {
		c := &cleaner{glob: j.glob, include: include, files: j.files, got: Removed{Pattern: j.pattern, Why: j.why}}
		c.walk(t.root, nil)
		if len(c.got.Paths) > 0 {
			all = append(all, c.got)
		}
	}
	return all, nil
}

// braces expands one {a,b} in a pattern of the list.
func braces(p string) []string {
	before, rest, ok := strings.Cut(p, "{")
	if !ok {
		return []string{p}
	}
	inside, after, _ := strings.Cut(rest, "}")
	var list []string
	for alt := range strings.SplitSeq(inside, ",") {
		list = append(list, before+alt+after)
	}
	return list
}

// cleaner removes what one pattern matches.
type cleaner struct {
	glob
	include []glob
	files   bool
	got     Removed
}

func (c *cleaner) walk(dir *inode, at []string) {
	for _, name := range dir.names() {
		path := append(at[:len(at):len(at)], name)
		kid := dir.kids[name].inode
		switch {
		case c.kept(path):
		case c.match(path) && !(c.files && kid.kids != nil):
			before := c.got.Entries
			c.remove(dir, name, path)
			if c.got.Entries > before {
				c.got.Paths = append(c.got.Paths, strings.Join(path, "/"))
			}
		case kid.kids != nil && c.above(path):
			c.walk(kid, path)
		}
	}
}

// kept reports what Include names, itself or through a folder above it.
func (c *cleaner) kept(path []string) bool {
	for _, g := range c.include {
		for n := 1; n <= len(path); n++ {
			if g.match(path[:n]) {
				return true
			}
		}
	}
	return false
}

// remove removes a name and what is below, but what Include names stays with the folders above it. It reports whether
// nothing was left.
func (c *cleaner) remove(dir *inode, name string, path []string) bool {
	if c.kept(path) {
		return false
	}
	kid := dir.kids[name].inode
	empty := true
	if kid.kids != nil {
		for _, child := range kid.names() {
			if !c.remove(kid, child, append(path[:len(path):len(path)], child)) {
				empty = false
			}
		}
	}
	if !empty {
		return false
	}
	dir.drop(name)
	c.got.Entries++
	if kid.links == 0 && kid.mode.IsRegular() {
		c.got.Bytes += kid.size
	}
	return true
}
