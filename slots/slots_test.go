package slots

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var both = []Slot{A, B}

// every calls f with each of the 7,920 states that an environment block can say.
func every(f func(State)) {
	for _, def := range both {
		for _, verified := range []bool{true, false} {
			for count := 0; count <= MaxLimit; count++ {
				for _, fell := range []bool{false, true} {
					for _, bad := range []Slot{None, A, B} {
						for _, once := range []Slot{None, A, B} {
							for limit := MinLimit; limit <= MaxLimit; limit++ {
								f(State{Default: def, Verified: verified, Count: count, FellBack: fell, Bad: bad, Once: once, Limit: limit})
							}
						}
					}
				}
			}
		}
	}
}

func TestEveryStateBootsASlotAndFollowsTheFirstMatchingRule(t *testing.T) {
	n := 0
	every(func(s State) {
		n++
		next, slot, why := Boot(s)
		var want Why
		switch spent := s.Count >= s.Limit || s.Bad == s.Default; {
		case s.Once != None:
			want = WhyOnce
		case s.Verified:
			want = WhyCommitted
		case !spent:
			want = WhyTrial
		case s.Bad == s.Default.Other():
			want = WhyLastResort
		default:
			want = WhyFallback
		}
		if why != want || (slot != A && slot != B) {
			t.Errorf("Boot(%+v) = slot %v why %s, want why %s", s, slot, why, want)
		}
		if !valid(next) {
			t.Errorf("Boot(%+v) leaves %+v, which no block says", s, next)
		}
		if (why == WhyCommitted || why == WhyLastResort) && next != s {
			t.Errorf("Boot(%+v) why %s changes the state to %+v; it must write nothing", s, why, next)
		}
	})
	if n != 7920 {
		t.Errorf("enumerated %d states, want 7920", n)
	}
}

func TestTheZeroStateBootsNothing(t *testing.T) {
	if _, slot, _ := Boot(State{Limit: 3, Verified: true}); slot != None {
		t.Errorf("Boot of a state without a default slot boots %v", slot)
	}
}

func TestTrialGetsExactlyLimitBootsThenTheOtherSlotForEver(t *testing.T) {
	every(func(s State) {
		if s.Verified || s.Once != None || s.Bad != None {
			return
		}
		left := max(s.Limit-s.Count, 0)
		for i, step := range Simulate(s, left+5) {
			slot, why := s.Default, WhyTrial
			switch {
			case i == left:
				slot, why = s.Default.Other(), WhyFallback
			case i > left:
				slot, why = s.Default.Other(), WhyCommitted
			}
			if step.Slot != slot || step.Why != why {
				t.Fatalf("Simulate(%+v) boot %d = %v %s, want %v %s", s, i+1, step.Slot, step.Why, slot, why)
			}
		}
	})
}

func TestEveryStateSettlesAndNeverBootsABadSlotUnlessItIsTheDefault(t *testing.T) {
	every(func(s State) {
		steps := Simulate(s, MaxLimit+4)
		for i, step := range steps {
			before := s
			if i > 0 {
				before = steps[i-1].State
			}
			if step.Slot == before.Bad && step.Slot != before.Default && step.Why != WhyOnce {
				t.Fatalf("Simulate(%+v) boot %d chooses the bad slot %v why %s", s, i+1, step.Slot, step.Why)
			}
		}
		last, before := steps[len(steps)-1], steps[len(steps)-2]
		if last != before {
			t.Fatalf("Simulate(%+v) does not settle: %+v then %+v", s, before, last)
		}
	})
}

func TestFailLeavesSomethingToBootOrChangesNothing(t *testing.T) {
	every(func(s State) {
		for _, slot := range both {
			next := Fail(s, slot)
			switch {
			case !valid(next):
				t.Errorf("Fail(%+v, %v) = %+v, which no block says", s, slot, next)
			case slot != s.Default:
				if next.Bad != slot || next.Default != s.Default || next.Verified != s.Verified {
					t.Errorf("Fail(%+v, %v) = %+v, want only Bad changed", s, slot, next)
				}
			case s.Bad == slot.Other():
				if next != s {
					t.Errorf("Fail(%+v, %v) = %+v, want no change: both slots are bad", s, slot, next)
				}
			default:
				want := s
				want.Bad, want.Default, want.Verified, want.Count, want.FellBack = slot, slot.Other(), true, 0, true
				if next != want {
					t.Errorf("Fail(%+v, %v) = %+v, want %+v", s, slot, next, want)
				}
			}
		}
	})
}

func TestWithBothSlotsBadTheMachineGoesToAndFro(t *testing.T) {
	every(func(s State) {
		for _, slot := range both {
			next := LastResort(s, slot)
			if slot != s.Default || s.Bad != slot.Other() {
				if next != s {
					t.Errorf("LastResort(%+v, %v) = %+v, want no change: there is another way", s, slot, next)
				}
				continue
			}
			if Fail(s, slot) != s {
				t.Errorf("Fail(%+v, %v) changes the state: no last resort is needed", s, slot)
			}
			after, boots, why := Boot(next)
			if !valid(next) || boots != slot.Other() || why != WhyOnce || after != s.WithoutOnce() {
				t.Errorf("LastResort(%+v, %v) = %+v, then boots %v why %s and leaves %+v", s, slot, next, boots, why, after)
			}
			// The other slot fails too, in init: the default is next.
			if again := Fail(after, boots); again != after {
				t.Errorf("Fail(%+v, %v) = %+v, want no change", after, boots, again)
			}
			if _, boots, _ := Boot(after); boots != slot {
				t.Errorf("after both failed %+v boots %v, want %v", after, boots, slot)
			}
		}
	})
}

func TestAForcedRollbackToABadSlotIsATrialOfIt(t *testing.T) {
	every(func(s State) {
		back := s.Default.Other()
		if s.Bad != back || s.Verified {
			return
		}
		next, err := Rollback(s, s.Default, true)
		if err != nil || !next.OnTrial(back) || next.Bad != None {
			t.Errorf("Rollback(%+v, %v, force) = %+v, %v, want a trial of %v", s, s.Default, next, err, back)
			return
		}
		steps := Simulate(next.WithoutOnce(), s.Limit+1)
		if last := steps[s.Limit]; last.Slot != s.Default || last.Why != WhyFallback {
			t.Errorf("nobody commits after Rollback(%+v, %v, force): boot %d is %v why %s, want %v again", s, s.Default, s.Limit+1, last.Slot, last.Why, s.Default)
		}
	})
}

func TestAgreeRepairsALostSaveAndNeverCountsTwice(t *testing.T) {
	every(func(s State) {
		if s.Once != None { // a once is only booted when its save worked
			return
		}
		next, slot, why := Boot(s)
		h := Handover{Slot: slot, Why: why, Count: next.Count}
		if got := Agree(s, h); got != next {
			t.Errorf("save lost: Agree(%+v, %+v) = %+v, want %+v", s, h, got, next)
		}
		if got := Agree(next, h); got != next {
			t.Errorf("save worked: Agree(%+v, %+v) = %+v, want it unchanged", next, h, got)
		}
	})
}

func TestAgreeNeverLeavesTheBlockWorse(t *testing.T) {
	every(func(s State) {
		for _, slot := range both {
			for _, why := range []Why{WhyOnce, WhyCommitted, WhyTrial, WhyFallback, WhyLastResort, "", "nonsense"} {
				for _, count := range []int{-1, 0, 3, 10, 99} {
					h := Handover{Slot: slot, Why: why, Count: count}
					got := Agree(s, h)
					if !valid(got) || got.Count < s.Count && got.Default == s.Default {
						t.Fatalf("Agree(%+v, %+v) = %+v", s, h, got)
					}
					if again := Agree(got, h); again != got {
						t.Fatalf("Agree(%+v, %+v) twice = %+v, once %+v", s, h, again, got)
					}
				}
			}
		}
	})
}

func TestInstallNeverOverwritesTheOnlyProvenSlot(t *testing.T) {
	every(func(s State) {
		for _, running := range both {
			next, target, err := BeginInstall(s, running, false)
			if proven := running == s.Default && s.Verified; proven != (err == nil) {
				t.Errorf("BeginInstall(%+v, %v): err %v, want one: %v", s, running, err, !proven)
			}
			if err != nil && next != s {
				t.Errorf("BeginInstall(%+v, %v) was refused and still changed the state to %+v", s, running, next)
			}
			next, target, err = BeginInstall(s, running, true)
			if err != nil || target != running.Other() || next.Bad != target || next.Default == target || next.Once == target {
				t.Errorf("BeginInstall(%+v, %v, force) = %+v, %v, %v: the half-written slot could boot", s, running, next, target, err)
			}
			for _, step := range Simulate(next, MaxLimit+3) {
				if step.Slot == target {
					t.Fatalf("power cut while installing over %v: %+v boots it", target, next)
				}
			}
			want := next
			want.Default, want.Verified, want.Count, want.FellBack, want.Bad = target, false, 0, false, None
			if got := Activate(next, target); got != want {
				t.Errorf("Activate(%+v, %v) = %+v, want %+v", next, target, got, want)
			}
		}
	})
}

func TestCommitStaysAndIsIdempotent(t *testing.T) {
	every(func(s State) {
		for _, running := range both {
			next, err := Commit(s, running)
			if err != nil || next.Default != running || !next.Verified || next.Count != 0 || next.Bad == running || next.FellBack != s.FellBack {
				t.Errorf("Commit(%+v, %v) = %+v, %v", s, running, next, err)
			}
			if again, _ := Commit(next, running); again != next {
				t.Errorf("Commit twice: %+v then %+v", next, again)
			}
			if s.Once != None {
				continue
			}
			for _, step := range Simulate(next, 3) {
				if step.Slot != running || step.Why != WhyCommitted {
					t.Fatalf("after Commit(%+v, %v) a boot chooses %v why %s", s, running, step.Slot, step.Why)
				}
			}
		}
	})
}

func TestRollbackReturnsToTheOtherSlotWithoutCallingItAFallback(t *testing.T) {
	every(func(s State) {
		for _, running := range both {
			for _, force := range []bool{false, true} {
				next, err := Rollback(s, running, force)
				if err != nil {
					if force || s.Bad != s.Default.Other() || next != s {
						t.Errorf("Rollback(%+v, %v, %v) = %+v, %v", s, running, force, next, err)
					}
					continue
				}
				if s.Verified && running != s.Default {
					if next != s {
						t.Errorf("Rollback(%+v, %v) = %+v, want no change", s, running, next)
					}
					continue
				}
				_, slot, why := Boot(next.WithoutOnce())
				if slot != s.Default.Other() || why == WhyFallback || why == WhyLastResort || !valid(next) {
					t.Errorf("Rollback(%+v, %v, %v) = %+v, whose next boot is %v why %s", s, running, force, next, slot, why)
				}
			}
		}
	})
}

func TestMarkBadNeverLeavesNothingToBoot(t *testing.T) {
	every(func(s State) {
		for _, slot := range both {
			next, err := MarkBad(s, slot)
			if refused := s.Bad == slot.Other(); refused != (err != nil) || refused && next != s {
				t.Errorf("MarkBad(%+v, %v) = %+v, %v", s, slot, next, err)
			}
			if err != nil {
				continue
			}
			if _, boots, _ := Boot(next.WithoutOnce()); boots == slot {
				t.Errorf("MarkBad(%+v, %v) = %+v still boots it", s, slot, next)
			}
			if good := MarkGood(next, slot); good.Bad != None {
				t.Errorf("MarkGood(%+v, %v) = %+v, still bad", next, slot, good)
			}
		}
	})
}

func TestBootOnceBootsOnce(t *testing.T) {
	every(func(s State) {
		for _, slot := range both {
			next, err := BootOnce(s, slot, false)
			if refused := s.Bad == slot; refused != (err != nil) || refused && next != s {
				t.Errorf("BootOnce(%+v, %v) = %+v, %v", s, slot, next, err)
			}
			next, err = BootOnce(s, slot, true)
			if err != nil {
				t.Fatalf("BootOnce(%+v, %v, force): %v", s, slot, err)
			}
			after, boots, why := Boot(next)
			if boots != slot || why != WhyOnce || after != s.WithoutOnce() {
				t.Errorf("Boot after BootOnce(%+v, %v) = %+v, %v, %s", s, slot, after, boots, why)
			}
		}
	})
}

func TestNoTransitionKnowsAnUnknownRunningSlot(t *testing.T) {
	s := Fresh()
	if _, _, err := BeginInstall(s, None, true); err == nil {
		t.Error("BeginInstall without a running slot is not refused")
	}
	if _, err := Commit(s, None); err == nil {
		t.Error("Commit without a running slot is not refused")
	}
	if _, err := Rollback(s, None, true); err == nil {
		t.Error("Rollback without a running slot is not refused")
	}
	for name, got := range map[string]State{"Fail": Fail(s, None), "Activate": Activate(s, None), "MarkGood": MarkGood(s, None)} {
		if got != s && name != "MarkGood" {
			t.Errorf("%s(%+v, None) = %+v, want no change", name, s, got)
		}
	}
}

// TestTheGoldenTableSaysWhatBootDoes holds the policy as a table that a person can read and review. LIMIT is 3 and
// FELL_BACK false in each row; neither changes what else happens.
func TestTheGoldenTableSaysWhatBootDoes(t *testing.T) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%-7s %-8s %-5s %-4s %-4s   %-4s %-11s  %s\n", "VERSION", "VERIFIED", "COUNT", "BAD", "ONCE", "boot", "why", "block afterwards")
	every(func(s State) {
		if s.Limit != 3 || s.FellBack || s.Count > 3 || s.Verified && s.Count != 0 {
			return
		}
		next, slot, why := Boot(s)
		fmt.Fprintf(&b, "%-7s %-8t %-5d %-4s %-4s   %-4s %-11s  %s\n",
			s.Default, s.Verified, s.Count, dash(s.Bad), dash(s.Once), slot, why, changes(s, next))
	})
	golden(t, "boot.txt", b.Bytes())
}

func TestTheGoldenTableSaysWhatTheOtherTransitionsDo(t *testing.T) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%-7s %-8s %-5s %-3s  %-7s  %-16s  %s\n", "VERSION", "VERIFIED", "COUNT", "BAD", "running", "transition", "block afterwards")
	every(func(s State) {
		if s.Limit != 3 || !s.FellBack || s.Once != None || s.Default != A || s.Count != 0 && (s.Verified || s.Count != 2) {
			return
		}
		for _, running := range both {
			row := func(name string, next State, err error) {
				what := changes(s, next)
				if err != nil {
					what = "refused: " + err.Error()
				}
				fmt.Fprintf(&b, "%-7s %-8t %-5d %-3s  %-7s  %-16s  %s\n", s.Default, s.Verified, s.Count, dash(s.Bad), running, name, what)
			}
			next, target, err := BeginInstall(s, running, false)
			row("begin install", next, err)
			if err == nil {
				row("activate "+target.String(), Activate(next, target), nil)
			}
			next, err = Commit(s, running)
			row("commit", next, err)
			next, err = Rollback(s, running, false)
			row("rollback", next, err)
			if err != nil {
				next, err = Rollback(s, running, true)
				row("rollback --force", next, err)
			}
			row("fail "+running.String(), Fail(s, running), nil)
			if next := LastResort(s, running); next != s {
				row("last resort", next, nil)
			}
			next, err = MarkBad(s, running)
			row("mark-bad "+running.String(), next, err)
			row("mark-good "+running.String(), MarkGood(s, running), nil)
			next, err = BootOnce(s, running, false)
			row("boot-once "+running.String(), next, err)
		}
	})
	golden(t, "transitions.txt", b.Bytes())
}

// changes lists the variables that differ between two states.
func changes(before, after State) string {
	var b bytes.Buffer
	for i, v := range after.Env() {
		if before.Env()[i] != v {
			fmt.Fprintf(&b, " %s=%s", v.Name[len("BOOT_"):], v.Value)
		}
	}
	if b.Len() == 0 {
		return "unchanged"
	}
	return b.String()[1:]
}

func dash(s Slot) string {
	if s == None {
		return "-"
	}
	return s.String()
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got; run with -update if the policy has changed on purpose):\n%s", path, diff)
	}
}

// valid says whether FromEnv could have returned s.
func valid(s State) bool {
	return s == FromEnv(lookup(s.Env()), s.Limit)
}
