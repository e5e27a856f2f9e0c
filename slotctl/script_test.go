package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/bootenv"
	"github.com/slotboot/slotboot/internal/durable"
	"github.com/slotboot/slotboot/slots"
)

// on runs slotctl on the device that each script has in its folder, with the given slot running.
func on(slot string) func() {
	return func() {
		os.Args = append([]string{"slotctl", "--grubenv", "grubenv", "--data", "data", "--running", slot}, os.Args[1:]...)
		main()
	}
}

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"slotctl": main, "onA": on("A"), "onB": on("B")})
}

// TestScripts runs testdata/script, one file a promise. Each starts on a fresh device: slot A holds version 1 and is
// committed, slot B is empty and bad, the block is in grubenv.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:         "testdata/script",
		WorkdirRoot: memory(t),
		Setup: func(env *testscript.Env) error {
			env.Values["kept"] = make(map[string]string)
			if err := writeSlotSet(filepath.Join(env.WorkDir, "data/slots/A"), "1", nil); err != nil {
				return err
			}
			block, err := bootenv.New(slots.Fresh())
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(env.WorkDir, "grubenv"), block, 0o600)
		},
		Condition: func(cond string) (bool, error) {
			if cond != "root" {
				return false, fmt.Errorf("unknown condition %s", cond)
			}
			if os.Geteuid() != 0 && os.Getenv("REQUIRE_TOOLS") == "1" {
				return false, errors.New("this script needs root")
			}
			return os.Geteuid() == 0, nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": scriptExits, "slotset": scriptSlotSet, "bundle": scriptBundle, "flip": scriptFlip, "cut": scriptCut,
			"keep": scriptKeep, "untouched": scriptUntouched, "hold": scriptHold, "tmpfs": scriptTmpfs, "block": scriptBlock,
			"delta": scriptDelta, "serve": scriptServe, "shelve": scriptShelve, "index": scriptIndex,
		},
	})
}

// exits STATUS COMMAND ARGS...
func scriptExits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if want, _ := strconv.Atoi(args[0]); got != want {
		ts.Fatalf("%q: exit status %d, want %d", args[1:], got, want)
	}
}

// slotset DIR VERSION [EDIT...]: a slot set folder. EDIT: arch=X, compatible=X, sequence=N, downgrade, delta, size=N (of the rootfs).
func scriptSlotSet(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(writeSlotSet(ts.MkAbs(args[0]), args[1], args[2:]))
}

func writeSlotSet(dir, version string, edits []string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	rootfs := bytes.Repeat([]byte("squashfs of version "+version+"\n"), 4000)
	m := &bundle.Manifest{
		Format: bundle.Format, Version: version, Created: time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC), Arch: machine().arch,
		Kernel: "6.1.0", Tool: "test",
	}
	delta := false
	for _, edit := range edits {
		key, value, _ := strings.Cut(edit, "=")
		switch key {
		case "arch":
			m.Arch = value
		case "compatible":
			m.Compatible = value
		case "sequence":
			n, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				return err
			}
			m.Sequence = n
		case "downgrade":
			m.Downgrade = true
		case "delta":
			delta = true
		case "size":
			n, err := strconv.Atoi(value)
			if err != nil {
				return err
			}
			rootfs = bytes.Repeat([]byte{'r'}, n)
		default:
			return fmt.Errorf("unknown edit %q", edit)
		}
	}
	for name, data := range map[string][]byte{
		bundle.SlotCfgName: []byte("set slotboot_args=\"quiet\"\n"), bundle.KernelName: []byte("kernel " + version),
		bundle.InitrdName: []byte("initrd " + version), bundle.RootfsName: rootfs,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	var err error
	if m.Payloads, err = bundle.Describe(os.DirFS(dir)); err != nil {
		return err
	}
	m.Build = bundle.BuildID(m.Payloads)
	if delta {
		p := &m.Payloads[3]
		p.Delta = &bundle.Delta{Format: "test/1", Size: p.Size, SHA256: p.SHA256, From: p.SHA256}
	}
	raw, err := m.Encode()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, bundle.ManifestName), raw, 0o644)
}

// bundle DIR FILE
func scriptBundle(ts *testscript.TestScript, _ bool, args []string) {
	dir := os.DirFS(ts.MkAbs(args[0]))
	raw, err := fs.ReadFile(dir, bundle.ManifestName)
	ts.Check(err)
	f, err := os.Create(ts.MkAbs(args[1]))
	ts.Check(err)
	s, err := bundle.NewStream(raw, nil, func(p *bundle.Payload) (io.Reader, error) { return dir.Open(p.Name) })
	ts.Check(err)
	ts.Check(bundle.WriteStream(f, s))
	ts.Check(f.Close())
}

// flip FILE TEXT: flips one bit in the first byte of the last TEXT in the file.
func scriptFlip(ts *testscript.TestScript, _ bool, args []string) {
	data := []byte(ts.ReadFile(args[0]))
	i := bytes.LastIndex(data, []byte(args[1]))
	if i < 0 {
		ts.Fatalf("%s has no %q", args[0], args[1])
	}
	data[i] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o644))
}

// cut FILE N: takes N bytes from the end of the file; below zero adds zeros.
func scriptCut(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), info.Size()-n))
}

// snapshot is every file below path with its content, inode and time of change.
func snapshot(path string) (string, error) {
	var b strings.Builder
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Stat(p, &st); err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s inode %d modified %d.%09d: %q\n", p, st.Ino, st.Mtim.Sec, st.Mtim.Nsec, data)
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return "there is no " + path, nil
	}
	return b.String(), err
}

// keep PATH...: remembers files and folders byte for byte.
func scriptKeep(ts *testscript.TestScript, _ bool, args []string) {
	for _, path := range args {
		text, err := snapshot(ts.MkAbs(path))
		ts.Check(err)
		ts.Value("kept").(map[string]string)[path] = text
	}
}

// [!] untouched PATH...: they are as keep has seen them, and nobody has written them since.
func scriptUntouched(ts *testscript.TestScript, neg bool, args []string) {
	for _, path := range args {
		want, ok := ts.Value("kept").(map[string]string)[path]
		if !ok {
			ts.Fatalf("%s was not kept", path)
		}
		got, err := snapshot(ts.MkAbs(path))
		ts.Check(err)
		if (got == want) == neg {
			ts.Fatalf("%s: untouched is %v\nbefore %.2000s\nafter %.2000s", path, got == want, want, got)
		}
	}
}

// hold DIR: another slotctl is at work on it until the script ends.
func scriptHold(ts *testscript.TestScript, _ bool, args []string) {
	lock, err := durable.OS{}.Lock(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Defer(func() { lock.Close() })
}

// tmpfs DIR SIZE
func scriptTmpfs(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+args[1]))
	ts.Defer(func() { unix.Unmount(dir, unix.MNT_DETACH) })
}

// block NAME=VALUE...: the block is exactly these policy variables, in this order.
func scriptBlock(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(ts.Exec("slotctl", "env", "list", "grubenv"))
	got := strings.Join(strings.Fields(ts.ReadFile("stdout")), " ")
	if want := strings.Join(args, " "); got != want {
		ts.Fatalf("the block says\n%s, want\n%s", got, want)
	}
}
