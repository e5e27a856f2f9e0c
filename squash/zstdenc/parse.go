package zstdenc

import "math/bits"

// window is the most positions between two points where the parser decides.
const window = 4096

// step is how the cheapest path reaches a position.
type step struct {
	length   uint32 // of the match that ends here; 0: a literal
	distance uint32
}

// state is what the cheapest path leaves at a position.
type state struct {
	repeats repeats
	run     uint32 // literals since the last match
}

// parser chooses the cheapest way through the matches of a block.
type parser struct {
	prices
	price [window + priceLengths + 2]uint32
	step  [window + priceLengths + 2]step
	state [window + priceLengths + 2]state
	back  []step
}

const unreached = 1 << 31

// lazy fills seqs quickly: the longest match, unless the next position has a longer one.
func lazy(f *finder, from, to int, r repeats, seqs []sequence) []sequence {
	start := from
	for i := from; i < to; {
		var l, d int
		for _, dist := range r {
			if int(dist) < i && load32(f.in, i) == load32(f.in, i-int(dist)) {
				if n := common(f.in, i-int(dist), i, to); n > l && n >= minMatch {
					l, d = n, int(dist)
				}
			}
		}
		if a, b := f.at[i-from], f.at[i-from+1]; b > a {
			m := f.list[b-1]
			if n := m.length(); n > l+1 && n > 3+bits.Len(uint(m.distance()))/8 {
				l, d = n, m.distance()
			}
		}
		if l == 0 {
			i++
			continue
		}
		if i+1 < to && l < 32 {
			if a, b := f.at[i-from+1], f.at[i-from+2]; b > a && f.list[b-1].length() > l+1 {
				i++
				continue
			}
		}
		if l >= maxLength {
			l = common(f.in, i-d, i, to)
		}
		seqs = append(seqs, sequence{uint32(i - start), uint32(l), uint32(d)})
		_, r = r.code(uint32(d), uint32(i-start))
		i += l
		start = i
	}
	return seqs
}

// parse appends the sequences of the cheapest way through in[from:to].
func (p *parser) parse(f *finder, from, to int, r repeats, seqs []sequence) []sequence {
	s := state{repeats: r}
	for i := from; i < to; {
		if f.at[i-from] == f.at[i-from+1] && !f.repeatAt(i, to, &s) {
			s.run++
			i++
			continue
		}
		i, s, seqs = p.segment(f, from, to, i, s, seqs)
	}
	return seqs
}

// repeatAt tells whether a repeated distance matches at i.
func (f *finder) repeatAt(i, to int, s *state) bool {
	v := load32(f.in, i)
	for _, d := range s.candidates() {
		if d-1 < uint32(i-front) && (load32(f.in, i-int(d))^v)<<8 == 0 && to-i >= minMatch {
			return true
		}
	}
	return false
}

// candidates are the distances with the offset values 1, 2 and 3; 0 is none.
func (s *state) candidates() [3]uint32 {
	if s.run == 0 {
		return [3]uint32{s.repeats[1], s.repeats[2], s.repeats[0] - 1}
	}
	return s.repeats
}

// segment parses from position i, where a match begins, until all paths meet.
func (p *parser) segment(f *finder, from, to, start int, s state, seqs []sequence) (int, state, []sequence) {
	in := f.in
	p.price[0], p.state[0] = 0, s
	end := 0 // the last position reached
	p.price[1] = unreached
	cur := 0
	for ; ; cur++ {
		i := start + cur
		if cur > 0 {
			p.arrive(cur, in[i-1])
			if cur == end || cur >= window {
				end = cur
				break
			}
			if p.price[cur+1] <= p.price[cur]+bitCost/2 {
				// somebody already gets further for the same price
				if l, d := p.forced(f, from, i, to); l > 0 {
					return p.finish(cur, i, l, d, start, seqs)
				}
				continue
			}
		}
		base := p.price[cur] + p.run[0]
		longest := 2
		v := load32(in, i)
		for k, d := range p.state[cur].candidates() {
			if d-1 >= uint32(i-front) || (load32(in, i-int(d))^v)<<8 != 0 {
				continue
			}
			l := common(in, i-int(d), i, to)
			if l < minMatch {
				continue
			}
			if l >= f.nice {
				return p.finish(cur, i, l, int(d), start, seqs)
			}
			end = p.reach(cur, end, l)
			p.offer(cur, minMatch, l, base+p.offset[(k+1)>>1], d)
			longest = max(longest, l)
		}
		low := minMatch
		for _, m := range f.list[f.at[i-from]:f.at[i-from+1]] {
			l, d := m.length(), m.distance()
			if l >= f.nice {
				return p.finish(cur, i, common(in, i-d, i, to), d, start, seqs)
			}
			end = p.reach(cur, end, l)
			p.offer(cur, low, l, base+p.offset[bits.Len(uint(d+3))-1], uint32(d))
			low = l + 1
		}
		if cur == end { // only at the start: what looked like a match was none
			end = p.reach(cur, end, 1)
		}
	}
	return start + cur, p.state[cur], p.collect(cur, seqs)
}

// forced returns the match at i that must be taken.
func (p *parser) forced(f *finder, from, i, to int) (int, int) {
	a, b := f.at[i-from], f.at[i-from+1]
	if a == b || f.list[b-1].length() < f.nice {
		return 0, 0
	}
	d := f.list[b-1].distance()
	return common(f.in, i-d, i, to), d
}

// reach makes the positions up to cur+l ready for offers.
func (p *parser) reach(cur, end, l int) int {
	for end < cur+l {
		end++
		p.price[end] = unreached
	}
	p.price[end+1] = unreached
	return end
}

// arrive settles position cur: a literal after cur-1 when that is cheaper.
func (p *parser) arrive(cur int, literal byte) {
	before := &p.state[cur-1]
	run := min(before.run, priceRuns-1)
	price := p.price[cur-1] + p.literal[literal] + p.run[run+1] - p.run[run]
	if price < p.price[cur] {
		p.price[cur] = price
		p.step[cur] = step{}
		p.state[cur] = state{before.repeats, before.run + 1}
		return
	}
	m := p.step[cur]
	before = &p.state[cur-int(m.length)]
	_, r := before.repeats.code(m.distance, before.run)
	p.state[cur] = state{repeats: r}
}

// offer proposes matches of length low to high at position cur.
func (p *parser) offer(cur, low, high int, base, distance uint32) {
	price := p.price[cur+low : cur+high+1]
	length := p.length[low : high+1]
	length = length[:len(price)]
	for k := range price {
		if c := base + length[k]; c < price[k] {
			price[k] = c
			p.step[cur+low+k] = step{uint32(low + k), distance}
		}
	}
}

// finish ends the segment with a match of length l at position cur.
func (p *parser) finish(cur, i, l, d, start int, seqs []sequence) (int, state, []sequence) {
	seqs = p.collect(cur, seqs)
	run := p.state[cur].run
	seqs = append(seqs, sequence{run, uint32(l), uint32(d)})
	_, r := p.state[cur].repeats.code(uint32(d), run)
	return i + l, state{repeats: r}, seqs
}

// collect appends the sequences of the path to cur.
func (p *parser) collect(cur int, seqs []sequence) []sequence {
	p.back = p.back[:0]
	for i := cur; i > 0; {
		m := p.step[i]
		if m.length == 0 {
			i--
			continue
		}
		i -= int(m.length)
		p.back = append(p.back, step{uint32(i), 0}, m)
	}
	for k := len(p.back) - 2; k >= 0; k -= 2 {
		m := p.back[k+1]
		seqs = append(seqs, sequence{p.state[p.back[k].length].run, m.length, m.distance})
	}
	return seqs
}
