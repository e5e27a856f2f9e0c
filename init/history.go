package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/slotboot/slotboot/internal/durable"
	"github.com/slotboot/slotboot/overlay"
)

// The record of boots: one JSON object a line, for slotctl to explain later what happened to a trial.
const (
	historyFile = stateDir + "/boots.jsonl"
	historyNext = stateDir + "/boots.jsonl.new"
	historyMax  = 64 << 10 // bytes; beyond it the older half goes
)

// record adds a line to the record of boots on the data partition, if there is one. What goes wrong is only noted: a
// boot must not fail for its record.
func (b *boot) record(event, cause string) {
	if b.found.data == nil || b.slot.String() == "" {
		return
	}
	err := b.mountData()
	if err == nil {
		err = b.appendHistory(b.historyLine(event, cause))
	}
	if err != nil {
		b.note("record boot: " + err.Error())
	}
}

func (b *boot) historyLine(event, cause string) string {
	bootID, _ := os.ReadFile(b.m.Path("/proc/sys/kernel/random/boot_id"))
	line := `{"time":` + strconv.FormatInt(b.m.Clock().Unix(), 10) +
		`,"boot_id":` + quoteJSON(strings.TrimSpace(string(bootID))) +
		`,"event":` + quoteJSON(event) +
		`,"slot":` + quoteJSON(b.slot.String()) +
		`,"why":` + quoteJSON(string(b.why)) +
		`,"count":` + strconv.Itoa(b.count) +
		`,"limit":` + strconv.Itoa(b.limit) +
		`,"saved":` + strconv.FormatBool(b.saved) +
		`,"version":` + quoteJSON(b.manifest.version) +
		`,"build":` + quoteJSON(b.manifest.build)
	if cause != "" {
		line += `,"cause":` + quoteJSON(oneLine(cause))
	}
	return line + "}\n"
}

// appendHistory writes the record anew with line at its end and renames it, so that a power cut leaves the old one or
// the new. The data partition is writable for just so long.
func (b *boot) appendHistory(line string) (err error) {
	old, err := os.ReadFile(b.m.Path(historyFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(old) > historyMax {
		old = old[len(old)-historyMax/2:]
		old = old[bytes.IndexByte(old, '\n')+1:]
	}
	if err := b.remountData(0); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.remountData(overlay.ReadOnly)) }()
	dir, file, next := b.m.Path(stateDir), b.m.Path(historyFile), b.m.Path(historyNext)
	if err := b.files.Mkdir(dir); err != nil {
		return err
	}
	if err := b.files.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := durable.Create(b.files, next, dir, append(old, line...)); err != nil {
		return err
	}
	if err := b.files.Rename(next, file); err != nil {
		return err
	}
	return b.files.SyncDir(dir)
}
