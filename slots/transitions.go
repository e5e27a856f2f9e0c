package slots

import "fmt"

// Refused is the error of a transition that the boot policy forbids. Nothing has changed.
type Refused struct {
	Reason string // what stands against it, in one clause
	Hint   string // what to do instead
	Forced bool   // whether force overrides it
}

func (e *Refused) Error() string { return e.Reason }

// Fail records that slot cannot be used: its kernel does not load, or init cannot mount its root. If slot is the
// default, the other slot becomes it as in rule 4 of Boot, committed or not; if that one is bad too nothing changes,
// because there is nothing left to boot. A slot that is not the default becomes bad.
func Fail(s State, slot Slot) State {
	switch {
	case slot == None:
		return s
	case slot != s.Default:
		s.Bad = slot
		return s
	case s.Bad == s.Default.Other():
		return s
	}
	return s.fallBack()
}

// LastResort is for when slot has failed and Fail has changed nothing: slot is the default, and the other one is bad too.
// It asks for one boot of that other slot. Marked bad is not proven bad, and nobody may be near to try it by hand; if it
// fails as well the boot after it is the default again, so that the machine goes to and fro and never stands on one
// broken slot. In every other state nothing changes.
//
// The caller makes sure that the other slot holds something to boot: an empty one is bad as well.
func LastResort(s State, slot Slot) State {
	if slot != None && slot == s.Default && s.Bad == slot.Other() {
		s.Once = slot.Other()
	}
	return s
}

// Handover is the decision that the boot loader made, as it stands on the kernel command line.
type Handover struct {
	Slot  Slot
	Why   Why
	Count int
}

// Agree makes s, the block as init reads it, say what the boot loader decided. It sets and never adds, so that a save
// that did not reach the disk is repaired and a boot is never counted twice. When block and hand-over contradict each
// other (another writer came between), s is returned as it is.
func Agree(s State, h Handover) State {
	switch h.Why {
	case WhyOnce:
		if s.Once == h.Slot {
			return s.WithoutOnce()
		}
	case WhyTrial:
		if s.OnTrial(h.Slot) {
			s.Count = min(max(s.Count, h.Count), MaxLimit)
		}
	case WhyFallback:
		if s.Default == h.Slot.Other() {
			return Fail(s, s.Default)
		}
	}
	return s
}

// BeginInstall prepares the slot that is not running for being overwritten and returns it as target. The result must
// be on disk before the first byte of target changes: from then on nothing falls back to it.
//
// It is Refused, unless forced, when the running slot is not the committed default, because the target would then be
// the only proven slot. Forced while the target is the default slot, it makes the running slot the committed default:
// the block must never name a slot that is being overwritten.
func BeginInstall(s State, running Slot, force bool) (next State, target Slot, err error) {
	target = running.Other()
	switch {
	case running == None:
		return s, None, &Refused{Reason: "which slot is running is not known"}
	case !force && running != s.Default:
		return s, None, &Refused{
			Reason: fmt.Sprintf("slot %s is running, but slot %s is the default: installing would overwrite it", running, s.Default),
			Hint:   fmt.Sprintf("reboot into slot %s, or commit slot %s first", s.Default, running),
			Forced: true,
		}
	case !force && !s.Verified:
		return s, None, &Refused{
			Reason: fmt.Sprintf("slot %s is on trial (boot %d of %d): installing would overwrite slot %s, the proven one", running, s.Count, s.Limit, target),
			Hint:   "slotctl commit, or slotctl rollback, first",
			Forced: true,
		}
	}
	if target == s.Default {
		s.Default, s.Verified, s.Count = running, true, 0
	}
	s.Bad = target
	if s.Once == target {
		s.Once = None
	}
	return s, target, nil
}

// Activate makes target, whose bytes are on the disk, the default slot on trial.
func Activate(s State, target Slot) State {
	if target == None {
		return s
	}
	s.Default, s.Verified, s.Count, s.FellBack, s.Bad = target, false, 0, false, None
	return s
}

// Commit makes the running slot the default for good. It is idempotent, and it makes a slot that was booted once the
// default.
func Commit(s State, running Slot) (State, error) {
	if running == None {
		return s, &Refused{Reason: "which slot is running is not known"}
	}
	s.Default, s.Verified, s.Count = running, true, 0
	if s.Bad == running {
		s.Bad = None
	}
	return s, nil
}

// Rollback makes the next boot return to the other slot because somebody asked for it. A default slot on trial is
// given up as in rule 4 of Boot, but FellBack stays false. A committed one hands over to a trial of the other, older
// set. When a slot booted once is running, the next boot returns to the default anyway: nothing changes.
//
// It is Refused, unless forced, when the slot to return to is bad. Forced, it starts a trial of that slot, from a trial
// too: a slot that is known to be bad must prove itself before anything is committed to it, and what runs now is what
// its failure comes back to.
func Rollback(s State, running Slot, force bool) (State, error) {
	back := s.Default.Other()
	switch {
	case running == None:
		return s, &Refused{Reason: "which slot is running is not known"}
	case s.Verified && running != s.Default:
		return s, nil
	case s.Bad == back && !force:
		return s, &Refused{
			Reason: fmt.Sprintf("slot %s is bad: there is nothing to roll back to", back),
			Hint:   fmt.Sprintf("slotctl mark-good %s if you know better", back),
			Forced: true,
		}
	case !s.Verified && s.Bad != back:
		s = s.fallBack()
		s.FellBack = false
		return s, nil
	}
	s.Default, s.Verified, s.Count = back, false, 0
	if s.Bad == back { // or the forced trial would fall back before its first boot
		s.Bad = None
	}
	return s, nil
}

// MarkBad forbids falling back to slot. A bad default slot is also put on trial, so that the next boot falls back from
// it by rule 4. It is Refused when the other slot is bad already: nothing would be left to boot.
func MarkBad(s State, slot Slot) (State, error) {
	switch {
	case slot == None:
		return s, &Refused{Reason: "no slot is named"}
	case s.Bad == slot.Other():
		return s, &Refused{
			Reason: fmt.Sprintf("slot %s is bad already: nothing would be left to boot", slot.Other()),
			Hint:   fmt.Sprintf("slotctl mark-good %s first", slot.Other()),
		}
	}
	s.Bad = slot
	if slot == s.Default {
		s.Verified = false
	}
	if s.Once == slot {
		s.Once = None
	}
	return s, nil
}

// MarkGood allows slot to be fallen back to. It does not commit it.
func MarkGood(s State, slot Slot) State {
	if s.Bad == slot {
		s.Bad = None
	}
	return s
}

// BootOnce asks for one boot of slot, whatever the default is. It is Refused on a bad slot, unless forced.
func BootOnce(s State, slot Slot, force bool) (State, error) {
	switch {
	case slot == None:
		return s, &Refused{Reason: "no slot is named"}
	case s.Bad == slot && !force:
		return s, &Refused{
			Reason: fmt.Sprintf("slot %s is bad", slot),
			Hint:   fmt.Sprintf("slotctl mark-good %s if you know better", slot),
			Forced: true,
		}
	}
	s.Once = slot
	return s, nil
}
