package main

import (
	"encoding/json"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestTrialsAndFailuresAreRecordedForSlotctlToExplain(t *testing.T) {
	r := newRig(t, trialB(0))
	r.Write("/proc/sys/kernel/random/boot_id", "c0ffee\n")
	r.boot("slotboot.slot=B slotboot.why=trial slotboot.count=1 slotboot.saved=y" + where)
	r.wantLast("exec /sbin/init")
	want := `{"time":1000000000,"boot_id":"c0ffee","event":"boot","slot":"B","why":"trial","count":1,"limit":3,"saved":true,"version":"1.B","build":"bB"}` + "\n"
	if got := mustRead(t, r.data+"/state/boots.jsonl"); got != want {
		t.Errorf("recorded %s, want %s", got, want)
	}

	next := newRig(t, trialB(1))
	next.put(next.data+"/state/boots.jsonl", want)
	os.Remove(next.slot("B") + "/rootfs.squashfs")
	next.boot("slotboot.slot=B slotboot.why=trial slotboot.count=2 slotboot.saved=y" + where)
	next.wantLast("reboot")
	lines := strings.SplitAfter(mustRead(t, next.data+"/state/boots.jsonl"), "\n")
	var last struct{ Event, Slot, Cause string }
	if len(lines) != 3 || lines[0] != want || json.Unmarshal([]byte(lines[1]), &last) != nil || last.Event != "fail" || !strings.Contains(last.Cause, "no such file") {
		t.Errorf("recorded %q", lines)
	}
	if next.Writable(next.Path("/run/slotboot/data/x")) != true || len(next.Mounted()) != 4 {
		t.Errorf("still mounted: %v", next.Mounted())
	}
}

func TestTheRecordOfBootsIsBounded(t *testing.T) {
	r := newRig(t, trialB(0))
	line := strings.Repeat("x", 99) + "\n"
	r.put(r.data+"/state/boots.jsonl", strings.Repeat(line, historyMax/100+2))
	r.boot("slotboot.slot=B slotboot.why=trial slotboot.count=1 slotboot.saved=y" + where)
	got := mustRead(t, r.data+"/state/boots.jsonl")
	if len(got) > historyMax || !strings.HasPrefix(got, line) || !strings.HasSuffix(got, "}\n") {
		t.Errorf("the record has %d bytes, begins %.20q", len(got), got)
	}
}

func TestARecordThatCannotBeWrittenCostsNoBoot(t *testing.T) {
	r := newRig(t, trialB(0))
	r.fail = func(op, path string) error {
		if strings.Contains(path, "boots") {
			return syscall.ENOSPC
		}
		return nil
	}
	r.boot("slotboot.slot=B slotboot.why=trial slotboot.count=1 slotboot.saved=y" + where)
	r.wantLast("exec /sbin/init")
	if r.Writable(r.Path("/run/slotboot/data/x")) {
		t.Error("the data partition stays writable")
	}
}
