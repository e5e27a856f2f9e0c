package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/slotboot/slotboot/internal/durable"
	"github.com/slotboot/slotboot/overlay"
)

const (
	reportFile   = overlay.Base + "/boot.json"
	stateDir     = overlay.Data + "/state"
	keptID       = stateDir + "/machine-id"
	imageID      = overlay.NewRoot + "/etc/machine-id"
	shutdownRoot = "/run/initramfs" // where systemd looks for a shutdown program
)

// writeReport tells the booted system what was booted and why.
func (b *boot) writeReport() {
	var envNode string
	if b.found.env != nil {
		envNode = b.found.env.node
	}
	report := `{"slot":` + quoteJSON(b.slot.String()) +
		`,"count":` + strconv.Itoa(b.count) +
		`,"limit":` + strconv.Itoa(b.limit) +
		`,"why":` + quoteJSON(string(b.why)) +
		`,"saved":` + strconv.FormatBool(b.saved) +
		`,"fell_back":` + strconv.FormatBool(b.cfg.fellBack) +
		`,"version":` + quoteJSON(b.manifest.version) +
		`,"build":` + quoteJSON(b.manifest.build) +
		`,"data_device":` + quoteJSON(b.found.data.node) +
		`,"env_device":` + quoteJSON(envNode) +
		`,"env_path":` + quoteJSON(b.cfg.envPath) + "}\n"
	if err := os.WriteFile(b.m.Path(reportFile), []byte(report), 0o644); err != nil {
		b.note(err.Error())
	}
}

// keepMachineID gives the booted system the machine id kept on the data partition, which it makes on the first boot.
// Without it systemd takes each boot for the first one, because the root forgets. An image that brings its own id, or
// makes the file a link, keeps that.
func (b *boot) keepMachineID() {
	if !b.wantsMachineID() {
		return
	}
	text, err := os.ReadFile(b.m.Path(keptID))
	id := strings.TrimSpace(string(text))
	if err != nil || !isMachineID(id) {
		if id, err = b.newMachineID(); err == nil {
			err = b.saveMachineID(id)
		}
		if err != nil {
			b.note("keep machine id: " + err.Error()) // this one lasts until the next boot
		}
	}
	if isMachineID(id) {
		if err := os.WriteFile(b.m.Path(imageID), []byte(id+"\n"), 0o444); err != nil {
			b.note(err.Error())
		}
	}
}

func (b *boot) wantsMachineID() bool {
	if etc, err := os.Lstat(b.m.Path(overlay.NewRoot + "/etc")); err != nil || !etc.IsDir() {
		return false
	}
	info, err := os.Lstat(b.m.Path(imageID))
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	text, err := os.ReadFile(b.m.Path(imageID))
	id := strings.TrimSpace(string(text))
	return err == nil && (id == "" || id == "uninitialized")
}

// newMachineID makes an id as systemd does: machine-id(5), a UUID of version 4 without its dashes.
func (b *boot) newMachineID() (string, error) {
	var id [16]byte
	if err := b.m.Random(id[:]); err != nil {
		return "", err
	}
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return hex.EncodeToString(id[:]), nil
}

// saveMachineID writes the id to the data partition, which is writable for just so long.
func (b *boot) saveMachineID(id string) (err error) {
	if err := b.remountData(0); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.remountData(overlay.ReadOnly)) }()
	dir, file := b.m.Path(stateDir), b.m.Path(keptID)
	if err := b.files.Mkdir(dir); err != nil {
		return err
	}
	if err := b.files.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) { // a damaged one
		return err
	}
	return durable.Create(b.files, file, dir, []byte(id+"\n"))
}

func isMachineID(id string) bool {
	return len(id) == 32 && strings.Trim(id, "0123456789abcdef") == "" && strings.Trim(id, "0") != ""
}

// installShutdown puts this program where systemd hands over at the very end of a shutdown, see shutdown.go. It must
// come before /run is moved: the initramfs is emptied. The two megabytes of memory are those that the initramfs gives
// back.
func (b *boot) installShutdown() {
	if err := b.copySelf(); err != nil {
		b.note("install shutdown program: " + err.Error())
	}
}

// keepMounted tells systemd to leave our mounts alone when it shuts down. It cannot unmount the data partition, which
// the root needs, and would report a failure at each shutdown; the shutdown program unmounts it. Other inits do not
// look there.
func (b *boot) keepMounted() {
	for _, target := range []string{overlay.Data, overlay.Rootfs, overlay.Overlay} {
		unit := strings.ReplaceAll(strings.TrimPrefix(target, "/"), "/", "-") + ".mount"
		dir := b.m.Path("/run/systemd/system/" + unit + ".d")
		err := os.MkdirAll(dir, 0o755)
		if err == nil {
			err = os.WriteFile(dir+"/slotboot.conf", []byte("[Unit]\nDefaultDependencies=no\n"), 0o644)
		}
		if err != nil {
			b.note(err.Error())
		}
	}
}

func (b *boot) copySelf() error {
	for _, dir := range []string{"", "/dev", "/proc", "/sys", "/run", "/oldroot"} {
		if err := os.MkdirAll(b.m.Path(shutdownRoot+dir), 0o755); err != nil {
			return err
		}
	}
	self, err := os.Open(b.m.Path("/proc/self/exe"))
	if err != nil {
		return err
	}
	defer self.Close()
	copied, err := os.OpenFile(b.m.Path(shutdownRoot+"/shutdown"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(copied, self); err != nil {
		copied.Close()
		return fmt.Errorf("copy: %w", err)
	}
	return copied.Close()
}
