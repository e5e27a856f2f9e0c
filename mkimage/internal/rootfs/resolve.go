package rootfs

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// maxWay is how long the targets of all links on one path may be together. It is twice the longest path in Linux; 40 targets of
// that length, for each of a million entries, would be hours.
const maxWay = 8192

// resolve walks name from the root and returns what is there and the name by which it was reached. Symbolic links and ".."
// stay within the root; follow says whether a link at the end is followed too.
func (t *Tree) resolve(name string, follow bool) (*inode, string, error) {
	at, _, last, err := t.walk(name, follow, false)
	if err != nil {
		return nil, "", err
	}
	if at == t.root {
		last = "."
	} else if last == "" {
		last = at.nameIn()
	}
	return at, last, nil
}

// walk goes along name and returns the inode reached, with the name by which it was reached, or "" if that was through "..".
// Where something is missing it returns ErrNotExist, or if grow is set goes on by name and returns what is missing below at.
func (t *Tree) walk(name string, follow, grow bool) (at *inode, missing []string, last string, err error) {
	rest := strings.Split(name, "/")
	at = t.root
	hops, length := 0, 0
	for len(rest) > 0 {
		elem := rest[0]
		rest = rest[1:]
		switch elem {
		case "", ".":
			continue
		case "..":
			if len(missing) > 0 {
				missing = missing[:len(missing)-1]
			} else if at.parent != nil {
				at, last = at.parent, ""
			}
			continue
		}
		if len(missing) > 0 {
			missing = append(missing, elem)
			continue
		}
		if at.kids == nil {
			return nil, nil, "", ErrNotDir
		}
		kid := at.kids[elem].inode
		switch {
		case kid == nil && !grow:
			return nil, nil, "", ErrNotExist
		case kid == nil:
			missing = append(missing, elem)
		case kid.symlink() && (follow || len(rest) > 0):
			if hops++; hops > t.hops {
				return nil, nil, "", fmt.Errorf("%w (%d)", ErrLoop, t.hops)
			}
			if length += len(kid.target); length > maxWay {
				return nil, nil, "", fmt.Errorf("%w: their targets have %d bytes", ErrLoop, length)
			}
			if strings.HasPrefix(kid.target, "/") {
				at, last = t.root, ""
			}
			rest = append(strings.Split(kid.target, "/"), rest...)
		case kid.kids == nil && len(rest) > 0:
			return nil, nil, "", fmt.Errorf("%s: %w", elem, ErrNotDir)
		default:
			at, last = kid, elem
		}
	}
	return at, missing, last, nil
}

// nameIn returns the name of a folder in its parent.
func (ino *inode) nameIn() string {
	if ino.parent != nil {
		for name, e := range ino.parent.kids {
			if e.inode == ino {
				return name
			}
		}
	}
	return "."
}

// folder returns the folder that holds the clean name, and the last element. Missing folders are made as layer's, if room
// agrees with their depth and number, and all on the way are marked as touched by it.
func (t *Tree) folder(name string, layer int32, room func(depth, n int) error) (*inode, string, error) {
	parent, base := path.Split(name)
	at, missing, _, err := t.walk(strings.TrimSuffix(parent, "/"), true, true)
	if err != nil {
		return nil, "", err
	}
	if at.kids == nil {
		return nil, "", ErrNotDir
	}
	if len(missing) > 0 {
		depth := len(missing) + 1
		for d := at; d.parent != nil; d = d.parent {
			depth++
		}
		if err := room(depth, len(missing)); err != nil {
			return nil, "", err
		}
	}
	at.touch(layer) // before what is below has the mark, where touch stops
	for _, elem := range missing {
		dir := newDir(at, layer)
		dir.sec = t.epoch
		if at.mode&fs.ModeSetgid != 0 { // as mkdir does it for the engines
			dir.mode |= fs.ModeSetgid
			dir.gid = at.gid
		}
		at.kids[elem] = entry{dir, layer}
		at = dir
	}
	return at, base, nil
}

// lookParent is like folder, but makes nothing: ErrNotExist.
func (t *Tree) lookParent(name string) (*inode, string, error) {
	parent, base := path.Split(name)
	at, _, _, err := t.walk(strings.TrimSuffix(parent, "/"), true, false)
	if err == nil && at.kids == nil {
		err = ErrNotDir
	}
	return at, base, err
}

// touch marks a folder and all above it as changed by layer.
func (ino *inode) touch(layer int32) {
	for d := ino; d != nil && d.layer < layer; d = d.parent {
		d.layer = layer
	}
}

// place puts ino under name. A folder over a folder takes the new attributes and keeps its entries; anything else replaces.
func (ino *inode) place(name string, kid *inode, layer int32) {
	old := ino.kids[name].inode
	if kid.mode.IsDir() {
		if old != nil && old.kids != nil {
			old.setFrom(kid)
			old.touch(layer)
			ino.kids[name] = entry{old, layer}
			return
		}
		kid.parent, kid.layer = ino, layer
		if kid.kids == nil {
			kid.kids = map[string]entry{}
		}
	}
	if old != nil {
		ino.drop(name)
	}
	ino.kids[name] = entry{kid, layer}
}

// setFrom takes over the attributes of a folder.
func (ino *inode) setFrom(n *inode) {
	ino.mode, ino.uid, ino.gid, ino.sec, ino.nsec, ino.xattrs = n.mode, n.uid, n.gid, n.sec, n.nsec, n.xattrs
}

// drop removes a name and, of a folder, everything below it.
func (ino *inode) drop(name string) {
	kid := ino.kids[name].inode
	if kid == nil {
		return
	}
	for child := range kid.kids {
		kid.drop(child)
	}
	kid.links--
	delete(ino.kids, name)
}
