package squash_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/slotboot/slotboot/squash"
)

// text is n bytes that compress about as well as text does, the same for the same seed.
func text(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	words := strings.Fields("slot boot count limit trial commit fallback kernel initrd rootfs squashfs overlay grub environment block")
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "%s %d ", words[r.IntN(len(words))], r.IntN(100))
	}
	return b.Bytes()[:n]
}

// noise is n bytes that do not compress.
func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func at(seconds int64) time.Time { return time.Unix(seconds, 0) }

// everyKind is a small tree with every type of inode, in its basic and its extended form, and every kind of content.
func everyKind(blockSize int) []squash.Entry {
	// Linux checks what is in a capability, and keeps user.* to files and folders.
	ping := "\x01\x00\x00\x02\x00\x20\x00\x00" + strings.Repeat("\x00", 12)
	x := map[string]string{"trusted.overlay.opaque": "y", "security.capability": ping}
	long := map[string]string{"trusted.long": strings.Repeat("long ", 300), "trusted.empty": ""}
	user := map[string]string{"user.note": "hello", "trusted.long": strings.Repeat("long ", 300), "user.nul": "\x00\xff"}
	top := uint32(math.MaxUint32 - 1) // (uid_t)-1 means "no change" to chown
	dir := fs.ModeDir | 0o755
	list := []squash.Entry{
		{Path: ".", Mode: fs.ModeDir | fs.ModeSticky | 0o777, UID: 12, GID: 34, ModTime: at(1_700_000_000)},
		{Path: "dev", Mode: dir, ModTime: at(1), Xattrs: user},
		{Path: "dev/blk", Mode: fs.ModeDevice | 0o660, Major: 259, Minor: 70000, GID: 6, ModTime: at(2)},
		{Path: "dev/blkx", Mode: fs.ModeDevice | 0o660, Major: 4095, Minor: 1<<20 - 1, Xattrs: x},
		{Path: "dev/chr", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666, Major: 1, Minor: 3},
		{Path: "dev/chrx", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666, Major: 1, Minor: 3, Xattrs: long},
		{Path: "dev/fifo", Mode: fs.ModeNamedPipe | 0o600, UID: top, GID: top},
		{Path: "dev/fifox", Mode: fs.ModeNamedPipe | 0o600, Xattrs: x},
		{Path: "dev/socket", Mode: fs.ModeSocket | 0o755},
		{Path: "dev/socketx", Mode: fs.ModeSocket | 0o755, Xattrs: x},
		{Path: "empty", Mode: dir},
		{Path: "link", Mode: fs.ModeSymlink | 0o777, Target: "usr/file"},
		{Path: "linkx", Mode: fs.ModeSymlink | 0o777, Target: strings.Repeat("t", 4095), Xattrs: map[string]string{"trusted.a": "b"}},
		{Path: "usr", Mode: dir, ModTime: at(math.MaxUint32)},
	}
	b := blockSize
	for i, content := range [][]byte{
		nil, {'x'}, text(1, 100), text(1, 100), text(2, b-1), text(3, b), text(4, b+1), text(3, b), text(5, 3*b+b/2),
		append(text(5, 3*b), text(6, b/3)...), noise(8, 2*b+17), make([]byte, 4*b), make([]byte, b+b/2),
		append(make([]byte, 2*b), text(9, b+5)...), append(text(10, b), make([]byte, 3*b)...), {0},
	} {
		list = append(list, body(squash.Entry{Path: fmt.Sprintf("usr/file%02d", i), Mode: 0o644, ModTime: at(int64(i))}, content))
	}
	return append(list,
		body(squash.Entry{Path: "usr/setgid", Mode: fs.ModeSetgid | 0o2755&0o777, GID: 5}, text(11, 30)),
		body(squash.Entry{Path: "usr/noted", Mode: 0o755, Xattrs: user}, text(15, 40)),
		body(squash.Entry{Path: "usr/setuid", Mode: fs.ModeSetuid | 0o755, Xattrs: x}, text(12, 40)),
		squash.Entry{Path: "usr/setuid2", HardlinkTo: "usr/setuid"},
		squash.Entry{Path: "usr/z-link", HardlinkTo: "link"},
		squash.Entry{Path: "usr/z-fifo", HardlinkTo: "dev/fifo"},
		body(squash.Entry{Path: "usr/\xff \n\"name\"", Mode: 0}, text(13, 10)),
		body(squash.Entry{Path: "usr/" + strings.Repeat("n", 255), Mode: 0o400}, text(14, 10)),
	)
}
