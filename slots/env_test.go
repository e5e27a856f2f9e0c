package slots

import (
	"encoding/json"
	"testing"
)

func lookup(vars []Var) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, v := range vars {
			if v.Name == name {
				return v.Value, true
			}
		}
		return "", false
	}
}

func TestEveryStateSurvivesTheEnvironmentBlock(t *testing.T) {
	every(func(s State) {
		if got := FromEnv(lookup(s.Env()), s.Limit); got != s {
			t.Errorf("FromEnv(%v) = %+v, want %+v", s.Env(), got, s)
		}
	})
}

func TestWhatIsAbsentOrNonsenseMeansWhatTheTableSays(t *testing.T) {
	base := State{Default: A, Verified: true, Limit: 3}
	with := func(edit func(*State)) State { s := base; edit(&s); return s }
	for _, tc := range []struct {
		name string
		vars []Var
		want State
	}{
		{"empty block", nil, base},
		{"unknown slot", []Var{{VarDefault, "C"}}, base},
		{"lower case slot", []Var{{VarDefault, "b"}, {VarBad, "a"}, {VarOnce, "b"}}, base},
		{"slot B", []Var{{VarDefault, "B"}}, with(func(s *State) { s.Default = B })},
		{"verified by anything but true", []Var{{VarVerified, "1"}}, with(func(s *State) { s.Verified = false })},
		{"verified empty", []Var{{VarVerified, ""}}, with(func(s *State) { s.Verified = false })},
		{"verified with a carriage return", []Var{{VarVerified, "true\r"}}, with(func(s *State) { s.Verified = false })},
		{"count 10", []Var{{VarCount, "10"}}, with(func(s *State) { s.Count = 10 })},
		{"count 11", []Var{{VarCount, "11"}}, base},
		{"count with a leading zero", []Var{{VarCount, "01"}}, base},
		{"count with a sign", []Var{{VarCount, "+1"}}, base},
		{"count below zero", []Var{{VarCount, "-1"}}, base},
		{"count with a space", []Var{{VarCount, " 1"}}, base},
		{"count of many digits", []Var{{VarCount, "99999999999999999999"}}, base},
		{"limit 1", []Var{{VarLimit, "1"}}, with(func(s *State) { s.Limit = 1 })},
		{"limit 0", []Var{{VarLimit, "0"}}, base},
		{"limit 11", []Var{{VarLimit, "11"}}, base},
		{"fell back by anything but true", []Var{{VarFellBack, "yes"}}, base},
	} {
		if got := FromEnv(lookup(tc.vars), 3); got != tc.want {
			t.Errorf("%s: FromEnv(%v) = %+v, want %+v", tc.name, tc.vars, got, tc.want)
		}
	}
	for baked, want := range map[int]int{-1: 3, 0: 3, 1: 1, 10: 10, 11: 3} {
		if got := FromEnv(lookup(nil), baked).Limit; got != want {
			t.Errorf("baked limit %d: got limit %d, want %d", baked, got, want)
		}
	}
}

func TestSlotsAreLettersInJSON(t *testing.T) {
	out, err := json.Marshal(map[string]Slot{"bad": None, "default": B})
	if want := `{"bad":"","default":"B"}`; err != nil || string(out) != want {
		t.Errorf("Marshal = %s, %v, want %s", out, err, want)
	}
	var back map[string]Slot
	if err := json.Unmarshal(out, &back); err != nil || back["default"] != B || back["bad"] != None {
		t.Errorf("Unmarshal = %v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"x":"C"}`), &back); err == nil {
		t.Error(`Unmarshal of slot "C" gives no error`)
	}
}
