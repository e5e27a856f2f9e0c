package slots

import "strconv"

// The names of the variables in GRUB's environment block.
const (
	VarDefault  = "BOOT_VERSION"
	VarVerified = "BOOT_VERIFIED"
	VarCount    = "BOOT_COUNT"
	VarFellBack = "BOOT_FELL_BACK"
	VarBad      = "BOOT_BAD"
	VarOnce     = "BOOT_ONCE"
	VarLimit    = "BOOT_LIMIT"
)

// Names lists every variable the policy reads, in the order in which the block holds them. The last, BOOT_LIMIT, is
// the owner's to set: the policy never writes it.
func Names() []string {
	return []string{VarDefault, VarVerified, VarCount, VarFellBack, VarBad, VarOnce, VarLimit}
}

// Var is one variable of the environment block.
type Var struct{ Name, Value string }

// FromEnv reads the state that get, a lookup of variables, describes. bakedLimit, from grub.cfg or the command line,
// counts when BOOT_LIMIT is absent or is not a limit; out of range itself, it is DefaultLimit.
//
// FromEnv never fails: what is absent or not understood means what the table in docs/boot-policy.md says, exactly as
// in the generated grub.cfg, which compares strings. An empty block is slot A, committed.
func FromEnv(get func(name string) (value string, ok bool), bakedLimit int) State {
	text := func(name string) string {
		value, _ := get(name)
		return value
	}
	s := State{
		Default:  slotOr(text(VarDefault), A),
		Verified: true,
		FellBack: text(VarFellBack) == "true",
		Bad:      slotOr(text(VarBad), None),
		Once:     slotOr(text(VarOnce), None),
		Limit:    numberOr(text(VarLimit), MinLimit, numberOr(strconv.Itoa(bakedLimit), MinLimit, DefaultLimit)),
		Count:    numberOr(text(VarCount), 0, 0),
	}
	if v, ok := get(VarVerified); ok {
		s.Verified = v == "true"
	}
	return s
}

// Env returns the variables that say s, all but BOOT_LIMIT, in the order of Names. FromEnv of the result is s again.
func (s State) Env() []Var {
	return []Var{
		{VarDefault, s.Default.String()},
		{VarVerified, strconv.FormatBool(s.Verified)},
		{VarCount, strconv.Itoa(s.Count)},
		{VarFellBack, strconv.FormatBool(s.FellBack)},
		{VarBad, s.Bad.String()},
		{VarOnce, s.Once.String()},
	}
}

func slotOr(text string, otherwise Slot) Slot {
	if slot, err := ParseSlot(text); err == nil {
		return slot
	}
	return otherwise
}

// numberOr reads a decimal in lowest..MaxLimit without sign or leading zero: the strings that grub.cfg knows.
func numberOr(text string, lowest, otherwise int) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < lowest || n > MaxLimit || strconv.Itoa(n) != text {
		return otherwise
	}
	return n
}
