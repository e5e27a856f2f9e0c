package split

import (
	"math/rand/v2"
	"testing"
)

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

func TestJoiningEndsWhereNothingIsCheaperTogether(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var s Splitter[stats, *stats]
		before, after, n := uint64(0), uint64(0), 0
		p := s.First()
		for range 40 {
			p = s.Next(p)
			p.Stats = stats{rnd.IntN(30), rnd.IntN(30)}
			p.Plain = partSize
			before += p.Stats.Cost(&stats{})
			n++
		}
		s.Join()
		var last *Part[stats]
		for p := range s.All() {
			alone := p.Stats.Cost(&stats{})
			after += alone
			if last != nil && last.Stats.Cost(&p.Stats) < last.Stats.Cost(&stats{})+alone {
				t.Fatalf("seed %d: neighbours %v and %v are cheaper together, and were left", seed, last.Stats, p.Stats)
			}
			last = p
		}
		if after > before {
			t.Fatalf("seed %d: %d parts cost %d, joined %d", seed, n, before, after)
		}
	}
}

func TestAChunkOfSmallStepsFillsTheLastPart(t *testing.T) {
	var s Splitter[stats, *stats]
	p := s.First()
	for range 10_000 {
		p = s.Next(p)
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
