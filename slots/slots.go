// Package slots decides which of the two slots boots: pure functions from one state to the next.
//
// It knows no files, no boot loader and no clock. The generated grub.cfg, init and slotctl all apply the rules written
// here, and the tests enumerate every state there is. The rules are numbered as in docs/boot-policy.md.
package slots

import "fmt"

// Slot names one of the two places that hold a slot set. The zero value is None, so that a forgotten field never boots
// anything by accident.
type Slot uint8

// The slots.
const (
	None Slot = iota
	A
	B
)

// Other returns the slot that s is not. None has no other and returns None.
func (s Slot) Other() Slot {
	switch s {
	case A:
		return B
	case B:
		return A
	}
	return None
}

// String returns "A", "B", or "" for None, as the environment block spells them.
func (s Slot) String() string {
	switch s {
	case A:
		return "A"
	case B:
		return "B"
	}
	return ""
}

// MarshalText makes a slot "A", "B" or "" in JSON.
func (s Slot) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText accepts what MarshalText writes.
func (s *Slot) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*s = None
		return nil
	}
	slot, err := ParseSlot(string(text))
	*s = slot
	return err
}

// ParseSlot returns the slot that name names: "A" or "B", in upper case only, as GRUB compares it.
func ParseSlot(name string) (Slot, error) {
	switch name {
	case "A":
		return A, nil
	case "B":
		return B, nil
	}
	return None, fmt.Errorf("slot %q: want A or B", name)
}

// The boot limit: how many boots a trial gets before it falls back.
const (
	MinLimit     = 1
	MaxLimit     = 10 // also the highest count; the scripts this policy comes from stopped there
	DefaultLimit = 3
)

// State is what the environment block says. Package slots treats it as a value: every transition returns a new one,
// and each is one write of the block.
type State struct {
	Default  Slot `json:"default"`   // the slot that boots when nothing is asked for once
	Verified bool `json:"verified"`  // true: committed; false: on trial
	Count    int  `json:"count"`     // boots the trial has used, 0..MaxLimit
	FellBack bool `json:"fell_back"` // the last fallback has not been answered by an install
	Bad      Slot `json:"bad"`       // the slot that must not be fallen back to
	Once     Slot `json:"once"`      // the slot to boot once, next
	Limit    int  `json:"limit"`     // boots a trial gets, MinLimit..MaxLimit
}

// Fresh returns the state a new disk ships: slot A committed, slot B empty and therefore bad.
func Fresh() State {
	return State{Default: A, Verified: true, Bad: B, Limit: DefaultLimit}
}

// OnTrial says whether slot is the default slot and not committed.
func (s State) OnTrial(slot Slot) bool { return slot != None && slot == s.Default && !s.Verified }

// Why is the rule that chose a slot, as it stands in slotboot.why= on the kernel command line.
type Why string

// The five reasons, one for each rule of Boot.
const (
	WhyOnce       Why = "once"        // rule 1: asked for once
	WhyCommitted  Why = "committed"   // rule 2: the default slot is committed
	WhyTrial      Why = "trial"       // rule 3: the default slot is on trial and has boots left
	WhyFallback   Why = "fallback"    // rule 4: the trial failed, the other slot boots
	WhyLastResort Why = "last-resort" // rule 5: the trial failed and the other slot is bad
)

// Boot decides the next boot from s. The caller saves next, if it differs from s, before it boots slot.
//
// If the save does not work the caller boots slot all the same, except when why is WhyOnce: a once that cannot be
// cleared would repeat for ever, so the caller decides again with WithoutOnce. Boot is total for every State whose
// Default is A or B; for the zero State it returns None.
func Boot(s State) (next State, slot Slot, why Why) {
	switch {
	case s.Once != None:
		return s.WithoutOnce(), s.Once, WhyOnce
	case s.Verified:
		return s, s.Default, WhyCommitted
	case s.Bad != s.Default && s.Count < s.Limit:
		s.Count++
		return s, s.Default, WhyTrial
	case s.Bad != s.Default.Other():
		s = s.fallBack()
		return s, s.Default, WhyFallback
	}
	return s, s.Default, WhyLastResort
}

// WithoutOnce returns s with nothing asked for once.
func (s State) WithoutOnce() State {
	s.Once = None
	return s
}

// fallBack is what rule 4 does to the state.
func (s State) fallBack() State {
	s.Bad = s.Default
	s.Default = s.Default.Other()
	s.Verified = true
	s.Count = 0
	s.FellBack = true
	return s
}

// Step is one boot of a simulation.
type Step struct {
	Slot  Slot
	Why   Why
	State State // the block after this boot's decision
}

// Simulate returns what the next n boots do if every save works and nobody commits.
func Simulate(s State, n int) []Step {
	steps := make([]Step, 0, max(n, 0))
	for range n {
		var step Step
		step.State, step.Slot, step.Why = Boot(s)
		steps = append(steps, step)
		s = step.State
	}
	return steps
}
