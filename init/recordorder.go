package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slotboot/slotboot/overlay"
)

// slotboot.record-order makes the boot record which files of the root are opened in which order, for mkimage's --order. A
// child of init does it, which goes on in the booted system until no new file has been opened for a while.
const (
	recorderName  = "record-order" // argv[0] of the child
	defaultSettle = 20 * time.Second
	recorderEvery = 3 * time.Second // how often the list is written while it grows
	orderFile     = overlay.Base + "/order"
	// scratchSerial is the serial number of the disk that mkimage boot-order attaches for the list.
	scratchSerial = "slotboot-order"
	// scratchText is where the list begins there; a line about it is at the beginning, see scratchHead.
	scratchText = 4096
)

// startRecorder starts the recorder on the merged root. It comes after move, because the child looks at /proc and /sys from
// inside of the new root, and before SwitchRoot, so that the image's init is the first file.
func (b *boot) startRecorder() {
	if b.cfg.recordOrder == 0 {
		return
	}
	if err := forkRecorder(overlay.NewRoot, b.cfg.recordOrder); err != nil {
		b.note("record order: " + err.Error())
	}
}

// forkRecorder starts this program again, in the root at dir, with a list of files being opened there. The marks are made
// here: when it returns, nothing is missed.
func forkRecorder(dir string, settle time.Duration) error {
	group, err := openGroup(dir)
	if err != nil {
		return err
	}
	defer group.Close()
	// The program is in the initramfs, which the child does not see; /proc/self/exe leads there all the same.
	_, err = os.StartProcess("/proc/self/exe", []string{recorderName, settle.String()}, &os.ProcAttr{
		Dir: "/", Env: []string{}, Files: []*os.File{nil, nil, nil, group}, Sys: &unix.SysProcAttr{Chroot: dir, Setsid: true}})
	return err
}

// openGroup returns a descriptor that tells of each file opened on the file system at dir, through whatever mount. Reads
// are not asked for: a program that is mapped is not read. The squashfs below the overlay would tell nothing, because
// overlayfs hides what it opens there.
func openGroup(dir string) (*os.File, error) {
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_UNLIMITED_QUEUE|unix.FAN_CLOEXEC, unix.O_RDONLY|unix.O_LARGEFILE|unix.O_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("fanotify: %w", err)
	}
	if err := unix.FanotifyMark(fd, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, unix.FAN_OPEN, unix.AT_FDCWD, dir); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("fanotify: watch %s: %w", dir, err)
	}
	return os.NewFile(uintptr(fd), "fanotify"), nil
}

// recorder keeps the paths of files of the image, in the order in which they were first opened.
type recorder struct {
	group   int    // of fanotify
	rootfs  string // where the image's files are, without those of the overlay
	out     string // the list
	scratch string // device that takes it too, or ""
	settle  time.Duration

	seen  map[string]bool
	list  bytes.Buffer
	files int
}

// recordOrder is the recorder's main.
func recordOrder(args []string) int {
	r := recorder{group: 3, rootfs: overlay.Rootfs, out: orderFile, settle: defaultSettle}
	if len(args) == 1 {
		if d, err := time.ParseDuration(args[0]); err == nil {
			r.settle = d
		}
	}
	if name := findScratch("/sys/block"); name != "" {
		r.scratch = "/dev/" + name
	}
	message := "slotboot: order"
	err := r.run()
	message += " files=" + strconv.Itoa(r.files) + " path=" + r.out
	if err != nil {
		message = "slotboot: note record order: " + err.Error()
	}
	os.WriteFile("/dev/kmsg", []byte("<5>"+oneLine(message)+"\n"), 0)
	if err != nil {
		return 1
	}
	return 0
}

// findScratch returns the name of the block device with our serial number.
func findScratch(sysBlock string) string {
	names, _ := os.ReadDir(sysBlock)
	for _, n := range names {
		serial, _ := os.ReadFile(sysBlock + "/" + n.Name() + "/serial")
		if strings.TrimSpace(string(serial)) == scratchSerial {
			return n.Name()
		}
	}
	return ""
}

// run records until no new file has been opened for r.settle.
func (r *recorder) run() error {
	r.seen = map[string]bool{}
	buf := make([]byte, 64<<10)
	last, written := time.Now(), time.Now()
	dirty := true
	for {
		fds := []unix.PollFd{{Fd: int32(r.group), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, 1000); err != nil && err != unix.EINTR {
			return fmt.Errorf("wait: %w", err)
		}
		if fds[0].Revents != 0 {
			n, err := unix.Read(r.group, buf)
			if err != nil && err != unix.EINTR && err != unix.EAGAIN {
				return fmt.Errorf("read events: %w", err)
			}
			if before := r.files; n > 0 {
				r.take(buf[:n])
				if r.files > before {
					last, dirty = time.Now(), true
				}
			}
		}
		done := time.Since(last) >= r.settle
		if done || dirty && time.Since(written) >= recorderEvery {
			if err := r.write(done); err != nil || done {
				return err
			}
			written, dirty = time.Now(), false
		}
	}
}

// take notes the files of some events. An event is a struct fanotify_event_metadata (fanotify(7)): its length in the first
// four bytes, a descriptor at 16.
func (r *recorder) take(events []byte) {
	for len(events) >= 24 {
		size := binary.NativeEndian.Uint32(events)
		fd := int32(binary.NativeEndian.Uint32(events[16:]))
		if size < 24 || int(size) > len(events) {
			return
		}
		events = events[size:]
		if fd < 0 {
			continue // the queue was full
		}
		path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(fd)))
		unix.Close(int(fd))
		if err == nil {
			r.note(path)
		}
	}
}

// note adds a path to the list if it is a file of the image with something in it. A name with a newline cannot be listed.
func (r *recorder) note(path string) {
	if r.seen[path] {
		return
	}
	r.seen[path] = true
	if fi, err := os.Lstat(r.rootfs + path); err != nil || !fi.Mode().IsRegular() || fi.Size() == 0 || strings.ContainsRune(path, '\n') {
		return
	}
	r.list.WriteString(path)
	r.list.WriteByte('\n')
	r.files++
}

// write puts the list where it is looked for.
func (r *recorder) write(done bool) error {
	part := r.out + ".part"
	if err := os.WriteFile(part, r.list.Bytes(), 0o644); err != nil {
		return err
	}
	if err := os.Rename(part, r.out); err != nil {
		return err
	}
	if r.scratch == "" {
		return nil
	}
	f, err := os.OpenFile(r.scratch, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(r.list.Bytes(), scratchText); err == nil {
		err = f.Sync()
	}
	if err == nil {
		_, err = f.WriteAt(scratchHead(r.list.Bytes(), done), 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// scratchHead is the first sector of the scratch disk: one line of text, filled up with NUL.
func scratchHead(list []byte, done bool) []byte {
	head := make([]byte, 512)
	state := "recording"
	if done {
		state = "done"
	}
	copy(head, fmt.Sprintf("slotboot order 1 size=%d crc32=%08x state=%s\n", len(list), crc32.ChecksumIEEE(list), state))
	return head
}
