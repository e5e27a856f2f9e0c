package grub

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/grubenv"
	"github.com/slotboot/slotboot/slots"
)

// verdict is what a boot loader prints of one decision.
type verdict struct {
	slot         slots.Slot
	why          slots.Why
	count, limit int
	saved        bool
	fellBack     bool // the flag slotboot.fellback
}

func (v verdict) String() string {
	saved, flag := "n", ""
	if v.saved {
		saved = "y"
	}
	if v.fellBack {
		flag = "slotboot.fellback"
	}
	return fmt.Sprintf("%v %s %d %d %s %s.", v.slot, v.why, v.count, v.limit, saved, flag)
}

// rowFunctions prints verdicts: row decides on one block, failrow also has the chosen slot fail to load, and spentrow does
// so after its kernel was loaded.
const rowFunctions = `
function print {
  echo "row $1 $slotboot_slot $slotboot_why $BOOT_COUNT $BOOT_LIMIT $slotboot_saved $slotboot_flag."
}
function row {
  set slotboot_env="$2"
  slotboot_read
  slotboot_decide
  print $1
}
function failrow {
  set slotboot_env="$2"
  slotboot_read
  slotboot_decide
  slotboot_fail
  print $1
}
function spentrow {
  set slotboot_spent=y
  failrow $1 $2
}
`

// decide has GRUB apply the function row, "row", "failrow" or "spentrow", to each block.
func decide(t *testing.T, row string, blocks [][]byte) (rows []string, after [][]byte) {
	t.Helper()
	var script strings.Builder
	script.WriteString(functions(t, Options{DataPartition: 3}) + rowFunctions)
	for i := range blocks {
		fmt.Fprintf(&script, "%s %d %s\n", row, i, envFile(i))
	}
	rows, after = judge(t, script.String(), blocks)
	if len(rows) != len(blocks) {
		t.Fatalf("GRUB printed %d rows for %d blocks", len(rows), len(blocks))
	}
	return rows, after
}

// block returns an environment block that says s, and things of others around it, with padding of fill.
func block(s slots.State, fill byte) []byte {
	b := []byte("# GRUB Environment Block\n# a comment\n")
	for _, v := range s.Env() {
		b = append(b, v.Name+"="+v.Value+"\n"...)
	}
	b = fmt.Appendf(b, "%s=%d\nsaved_entry=some\\\\thing\n", slots.VarLimit, s.Limit)
	return pad(b, envSize, fill)
}

// states calls f with every state whose limit is one of limits.
func states(limits []int, f func(slots.State)) {
	for _, limit := range limits {
		for i := range 2 * 2 * (slots.MaxLimit + 1) * 2 * 3 * 3 {
			s := slots.State{Limit: limit}
			take := func(n int) (digit int) { digit, i = i%n, i/n; return digit }
			s.Default = slots.Slot(1 + take(2))
			s.Verified = take(2) == 1
			s.Count = take(slots.MaxLimit + 1)
			s.FellBack = take(2) == 1
			s.Bad = slots.Slot(take(3))
			s.Once = slots.Slot(take(3))
			f(s)
		}
	}
}

func every() []int { return []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10} }

func TestGRUBDecidesEveryStateAsPackageSlotsDoes(t *testing.T) {
	t.Parallel()
	var all []slots.State
	var blocks [][]byte
	states(every(), func(s slots.State) {
		all = append(all, s)
		blocks = append(blocks, block(s, '#'))
	})
	if len(all) != 7920 {
		t.Fatalf("%d states, want 7920", len(all))
	}
	rows, after := decide(t, "row", blocks)
	for i, s := range all {
		next, slot, why := slots.Boot(s)
		want := fmt.Sprintf("%d %v", i, verdict{slot, why, next.Count, next.Limit, true, why == slots.WhyFallback})
		if rows[i] != want {
			t.Errorf("GRUB on %+v = %q, slots.Boot says %q", s, rows[i], want)
		}
		if !bytes.Equal(after[i], block(next, '#')) {
			t.Errorf("GRUB on %+v leaves\n%swant %+v and nothing else changed", s, head(after[i]), next)
		}
	}
}

func TestGRUBGoesOnWhenItCannotSave(t *testing.T) {
	t.Parallel()
	var all []slots.State
	var blocks [][]byte
	states([]int{3}, func(s slots.State) {
		all = append(all, s)
		blocks = append(blocks, block(s, 0)) // GRUB loads it and cannot save it: its padding is not '#'
	})
	rows, after := decide(t, "row", blocks)
	for i, s := range all {
		next, slot, why := slots.Boot(s)
		saved := next == s
		if why == slots.WhyOnce {
			next, slot, why = slots.Boot(s.WithoutOnce())
		}
		want := fmt.Sprintf("%d %v", i, verdict{slot, why, next.Count, next.Limit, saved, why == slots.WhyFallback})
		if rows[i] != want {
			t.Errorf("GRUB on %+v, not savable = %q, want %q", s, rows[i], want)
		}
		if !bytes.Equal(after[i], blocks[i]) {
			t.Errorf("GRUB on %+v, not savable, leaves\n%s", s, head(after[i]))
		}
	}
}

// afterFail is what the boot loader does when the slot it chose in s cannot be loaded: slots.Fail, then slots.Boot
// again. When that leads nowhere it tries the other slot, which is better than nothing.
func afterFail(s slots.State, slot slots.Slot) (next slots.State, v verdict) {
	failed := slots.Fail(s, slot)
	if slot == s.Default && failed == s {
		return s, verdict{slot: slot.Other(), why: slots.WhyLastResort}
	}
	next, again, why := slots.Boot(failed)
	v = verdict{slot: again, why: why}
	if failed.Default != s.Default {
		v.why, v.fellBack = slots.WhyFallback, true
	}
	return next, v
}

func TestAKernelThatCannotBeLoadedIsAFailedSlotInEveryState(t *testing.T) {
	t.Parallel()
	var all []slots.State
	var blocks [][]byte
	states([]int{1, 3}, func(s slots.State) {
		all = append(all, s)
		blocks = append(blocks, block(s, '#'))
	})
	rows, after := decide(t, "failrow", blocks)
	for i, s := range all {
		booted, slot, _ := slots.Boot(s)
		next, v := afterFail(booted, slot)
		v.count, v.limit, v.saved = next.Count, next.Limit, true
		if want := fmt.Sprintf("%d %v", i, v); rows[i] != want {
			t.Errorf("GRUB on %+v when slot %v does not load = %q, want %q", s, slot, rows[i], want)
		}
		if !bytes.Equal(after[i], block(next, '#')) {
			t.Errorf("GRUB on %+v when slot %v does not load leaves\n%swant %+v", s, slot, head(after[i]), next)
		}
	}
}

// TestAnInitrdThatCannotBeReadIsAFailedSlotInEveryState is the test above after a kernel has been loaded: GRUB cannot load
// another one, so that a last resort has to be asked for in the block.
func TestAnInitrdThatCannotBeReadIsAFailedSlotInEveryState(t *testing.T) {
	t.Parallel()
	var all []slots.State
	var blocks [][]byte
	states([]int{3}, func(s slots.State) {
		all = append(all, s)
		blocks = append(blocks, block(s, '#'))
	})
	rows, after := decide(t, "spentrow", blocks)
	for i, s := range all {
		booted, slot, _ := slots.Boot(s)
		next, v := afterFail(booted, slot)
		next = slots.LastResort(next, slot)
		v.count, v.limit, v.saved = next.Count, next.Limit, true
		if want := fmt.Sprintf("%d %v", i, v); rows[i] != want {
			t.Errorf("GRUB on %+v when the initrd of slot %v cannot be read = %q, want %q", s, slot, rows[i], want)
		}
		if !bytes.Equal(after[i], block(next, '#')) {
			t.Errorf("GRUB on %+v when the initrd of slot %v cannot be read leaves\n%swant %+v", s, slot, head(after[i]), next)
		}
		if again, boots, _ := slots.Boot(next); boots == slot && slot == s.Default && again == s {
			t.Errorf("%+v: slot %v has failed and is what the next boot chooses, with the same state", s, slot)
		}
	}
}

func TestTheSecondSlotThatFailsChangesNothingMore(t *testing.T) {
	// So the script need not record it.
	states(every(), func(s slots.State) {
		booted, slot, _ := slots.Boot(s)
		next, v := afterFail(booted, slot)
		if v.slot != slot.Other() {
			t.Errorf("%+v: after slot %v failed slot %v is tried", s, slot, v.slot)
		}
		if again := slots.Fail(next, v.slot); again != next {
			t.Errorf("%+v: slot %v failed, then %v: Fail gives %+v, want %+v", s, slot, v.slot, again, next)
		}
	})
}

// head returns the lines of a block without its padding.
func head(block []byte) string { return string(bytes.TrimRight(block, "#\x00")) }

// oddValues are what a block can say that is no value of the policy, or only just one.
func oddValues() []string {
	return []string{
		"", " ", "A", "B", "a", "b", "C", "AB", "A ", " A", "true", "True", "TRUE", "true ", "false", "yes", "1", "0", "2",
		"3", "4", "5", "6", "7", "8", "9", "10", "11", "00", "01", "010", "+1", "-1", "1.0", "1e1", "0x1", "99999999999999999999",
		"2\r", "true\r", "B\r", "!", "(", ")", "-f", "-a", "-o", "=", "!=", "]", "[", "*", "?", "~", "$BOOT_ONCE", "${prefix}",
		"`", "'", `"`, `\`, "A\nB", "1\n", "\n2", ";", "{", "}", "| reboot", "; reboot", "# comment", "\u0663", "\xff", "=B", "A=B",
	}
}

func TestGRUBUnderstandsOddValuesAsPackageSlotsDoes(t *testing.T) {
	t.Parallel()
	contexts := []slots.State{
		{Default: slots.A, Verified: true, Limit: 3},
		{Default: slots.B, Count: 2, Bad: slots.B, Once: slots.A, Limit: 4},
		{Default: slots.A, Count: 2, Limit: 2},
		{Default: slots.B, Count: 2, FellBack: true, Limit: 5},
	}
	var blocks [][]byte
	add := func(change func(*grubenv.Block) error, s slots.State) {
		b := grubenv.New()
		for _, v := range append(s.Env(), slots.Var{Name: slots.VarLimit, Value: fmt.Sprint(s.Limit)}) {
			if err := b.Set(v.Name, v.Value); err != nil {
				t.Fatal(err)
			}
		}
		if err := change(b); err != nil {
			t.Fatal(err)
		}
		data, err := b.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, data)
	}
	for _, s := range contexts {
		for _, name := range slots.Names() {
			add(func(b *grubenv.Block) error { b.Unset(name); return nil }, s)
			for _, value := range oddValues() {
				add(func(b *grubenv.Block) error { return b.Set(name, value) }, s)
			}
		}
	}
	blocks = append(blocks, odd()...)
	rows, after := decide(t, "row", blocks)
	for i, data := range blocks {
		b, err := grubenv.Parse(data)
		if err != nil {
			b = grubenv.New()
		}
		s := slots.FromEnv(b.Get, slots.DefaultLimit)
		next, slot, why := slots.Boot(s)
		v := verdict{slot, why, next.Count, next.Limit, err == nil, why == slots.WhyFallback}
		if want := fmt.Sprintf("%d %v", i, v); rows[i] != want {
			t.Errorf("GRUB on this block = %q, want %q\n%s", rows[i], want, head(data))
		}
		switch left, err := grubenv.Parse(after[i]); {
		case next == s && !bytes.Equal(data, after[i]):
			t.Errorf("GRUB, with nothing to write, changes\n%sto\n%s", head(data), head(after[i]))
		case next != s && err != nil:
			t.Errorf("GRUB leaves no block: %v", err)
		case next != s && slots.FromEnv(left.Get, slots.DefaultLimit) != next:
			t.Errorf("GRUB turns\n%sinto\n%swant %+v", head(data), head(after[i]), next)
		}
	}
}

// odd returns blocks that are damaged as a whole.
func odd() [][]byte {
	text := string(block(slots.State{Default: slots.B, Count: 1, Limit: 3}, '#'))
	return [][]byte{
		make([]byte, envSize),
		bytes.Repeat([]byte{0xff}, envSize),
		pad([]byte("BOOT_VERSION=B\n"), envSize, '#'),
		pad([]byte("# GRUB Environment Block\r\nBOOT_VERSION=B\r\n"), envSize, '#'),
		pad([]byte("# GRUB Environment Block\nBOOT_VERSION=B\r\nBOOT_VERIFIED=true\r\n"), envSize, '#'),
		pad([]byte("# GRUB Environment Block\n"), envSize, '#'),
		pad([]byte("# GRUB Environment Block\nBOOT_VERSION=B"), envSize, '#'),
		pad([]byte("# GRUB Environment Block\nBOOT_VERSION\nBOOT_VERSION=B\n"), envSize, '#'),
		pad([]byte("# GRUB Environment Block\nprefix=(hd9)\nroot=hd9\nslotboot_env=/x\nBOOT_VERSION=B\n"), envSize, '#'),
		[]byte(strings.Replace(text, "# a comment", "# a comment \\\nBOOT_BAD=A", 1)[:envSize]),
	}
}
