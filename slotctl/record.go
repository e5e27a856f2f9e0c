package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/slotboot/slotboot/slots"
)

// The record of boots, on the data partition: one JSON object a line. init writes what boots and fails, slotctl what
// people and programs have done.
const (
	recordFile = "state/boots.jsonl"
	recordMax  = 64 << 10 // bytes; beyond it the older half goes, as in init
)

// event is one line of the record. Its keys are a promise of explain --json.
type event struct {
	Time    int64      `json:"time"` // seconds since 1970, as far as the device knew
	BootID  string     `json:"boot_id"`
	Event   string     `json:"event"` // boot, fail: from init; what slotctl does, as docs/slotctl.md lists it
	Slot    slots.Slot `json:"slot"`
	Why     slots.Why  `json:"why,omitempty"`
	Count   int        `json:"count,omitempty"`
	Limit   int        `json:"limit,omitempty"`
	Saved   bool       `json:"saved,omitempty"`
	Version string     `json:"version,omitempty"`
	Build   string     `json:"build,omitempty"`
	Cause   string     `json:"cause,omitempty"`
	Source  string     `json:"source,omitempty"` // of an install, without passwords
	From    string     `json:"from,omitempty"`   // the build that a rollback left
}

// record adds an event of this device to its record. What goes wrong is a warning: nothing depends on it.
func (d *device) record(e event) {
	if d.boot == nil { // off the device there is no boot to speak of
		return
	}
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	e.Time, e.BootID = time.Now().Unix(), strings.TrimSpace(string(id))
	if m := d.manifest(e.Slot); m != nil && e.Version == "" {
		e.Version, e.Build = m.Version, m.Build
	}
	line, err := json.Marshal(e)
	if err == nil {
		err = d.withData(false, func() error { return d.appendRecord(append(line, '\n')) })
	}
	if err != nil {
		d.warn("keep a record of this: %v", err)
	}
}

// recordAlone is record for a command that does not hold the device's lock: an install that began meanwhile would find
// the data partition writable, and then read-only in the middle of its writes.
func (d *device) recordAlone(e event) {
	if d.boot == nil {
		return
	}
	lock, err := d.files.Lock(d.data)
	if err != nil {
		d.warn("keep a record of this: %v", err)
		return
	}
	defer lock.Close()
	d.record(e)
}

// sourceName is where an install came from, without what may be secret in it: a password, the query of a signed URL.
func sourceName(src string) string {
	if u, err := url.Parse(src); err == nil && u.Scheme != "" && u.Host != "" {
		u.User, u.RawQuery, u.Fragment = nil, "", ""
		return u.String()
	}
	if full, err := filepath.Abs(src); err == nil {
		return full
	}
	return src
}

func (d *device) appendRecord(line []byte) error {
	old, err := os.ReadFile(filepath.Join(d.data, recordFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(old) > recordMax {
		old = old[len(old)-recordMax/2:]
		old = old[bytes.IndexByte(old, '\n')+1:]
	}
	return d.replace(recordFile, append(old, line...))
}

// readRecord returns the events, the oldest first. A line that is none, as after an accident, is passed over.
func (d *device) readRecord() ([]event, error) {
	text, err := os.ReadFile(filepath.Join(d.data, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of boots: %w", err)
	}
	var events []event
	for line := range bytes.Lines(text) {
		var e event
		if json.Unmarshal(line, &e) == nil && e.Event != "" {
			events = append(events, e)
		}
	}
	return events, nil
}
