package split

import "testing"

// stats count two kinds of steps. A part of one kind is cheap, mixed ones cost by the step, and every part a bit more.
type stats [2]int

func (s *stats) Merge(more *stats) { s[0], s[1] = s[0]+more[0], s[1]+more[1] }

func (s *stats) Cost(more *stats) uint64 {
	a, b := s[0]+more[0], s[1]+more[1]
	return uint64(100 + 10*min(a, b))
}

func TestPartsOfOneKindAreJoinedAndOthersKept(t *testing.T) {
	kinds := []int{0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1} // of 2 KiB each
	var s Splitter[stats, *stats]
	for range 2 { // used and fresh
		p := s.First()
		for _, kind := range kinds {
			for range 64 {
				p = s.Next(p)
				p.Stats[kind]++
				p.Steps++
				p.Plain += 32
				p.Literals++
			}
		}
		s.Join()
		var got []int
		lasts, plain := 0, 0
		for p, last := range s.All() {
			if p.Stats[0] != p.Steps && p.Stats[1] != p.Steps || p.Literals != p.Steps {
				t.Errorf("a part of %d steps counts %v", p.Steps, p.Stats)
			}
			got = append(got, p.Steps)
			plain += p.Plain
			if last {
				lasts++
			}
		}
		if want := [...]int{256, 128, 192, 192}; len(got) != len(want) || [4]int(got) != want {
			t.Errorf("parts of %v steps, want %v", got, want)
		}
		if lasts != 1 || plain != len(kinds)*2048 {
			t.Errorf("%d last parts, %d bytes, want 1 and %d", lasts, plain, len(kinds)*2048)
		}
	}
}

func TestAChunkOfSmallStepsFillsTheLastPart(t *testing.T) {
	var s Splitter[stats, *stats]
	p := s.First()
	for i := range 10_000 {
		p = s.Next(p)
		p.Stats[i/100%2]++ // nothing to join
		p.Steps++
		p.Plain += partSize
	}
	steps := 0
	for p := range s.All() {
		steps += p.Steps
	}
	if steps != 10_000 {
		t.Errorf("the parts hold %d steps, want all 10000", steps)
	}
}
