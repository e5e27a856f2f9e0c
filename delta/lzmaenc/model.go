package lzmaenc

import "math/bits"

const (
	states     = 12
	posStates  = 16
	fullDists  = 128
	matchCodes = fullDists - 14
)

// model is the probabilities of everything, which the decoder learns in the same way.
type model struct {
	isMatch    [states][posStates]prob
	isRep      [states]prob
	isRepG0    [states]prob
	isRepG1    [states]prob
	isRepG2    [states]prob
	isRep0Long [states][posStates]prob
	slot       [4][64]prob
	special    [matchCodes + 2]prob
	align      [16]prob
	length     lengths
	repLength  lengths
	literal    []prob // 0x300 for each context
}

type lengths struct {
	choice, choice2 prob
	low, mid        [posStates][8]prob
	high            [256]prob
}

func newModel(literalBits int) *model {
	m := &model{literal: make([]prob, 0x300<<literalBits)}
	for i := range m.isMatch {
		fill(m.isMatch[i][:])
		fill(m.isRep0Long[i][:])
	}
	for _, p := range [][]prob{m.isRep[:], m.isRepG0[:], m.isRepG1[:], m.isRepG2[:], m.special[:], m.align[:], m.literal} {
		fill(p)
	}
	for i := range m.slot {
		fill(m.slot[i][:])
	}
	m.length.reset()
	m.repLength.reset()
	return m
}

func fill(p []prob) {
	for i := range p {
		p[i] = probInit
	}
}

func (l *lengths) reset() {
	l.choice, l.choice2 = probInit, probInit
	for i := range l.low {
		fill(l.low[i][:])
		fill(l.mid[i][:])
	}
	fill(l.high[:])
}

func (l *lengths) encode(c *rangeCoder, n uint32, posState uint32) {
	n -= minMatch
	switch {
	case n < 8:
		c.bit(&l.choice, 0)
		c.tree(l.low[posState][:], n, 3)
	case n < 16:
		c.bit(&l.choice, 1)
		c.bit(&l.choice2, 0)
		c.tree(l.mid[posState][:], n-8, 3)
	default:
		c.bit(&l.choice, 1)
		c.bit(&l.choice2, 1)
		c.tree(l.high[:], n-16, 8)
	}
}

// prices fills t with the prices of all lengths.
func (l *lengths) prices(t *[posStates][maxMatch + 1]uint32, used uint32) {
	a0, a1 := price(l.choice, 0), price(l.choice, 1)
	b0, b1 := a1+price(l.choice2, 0), a1+price(l.choice2, 1)
	for s := range used {
		for n := range uint32(8) {
			t[s][minMatch+n] = a0 + treePrice(l.low[s][:], n, 3)
			t[s][minMatch+8+n] = b0 + treePrice(l.mid[s][:], n, 3)
		}
		if s > 0 {
			copy(t[s][minMatch+16:], t[0][minMatch+16:])
			continue
		}
		for n := range uint32(256) {
			t[s][minMatch+16+n] = b1 + treePrice(l.high[:], n, 8)
		}
	}
}

// The states remember the kinds of the last symbols. Below afterMatch the last was a literal.
const afterMatch = 7

func stateLiteral(s uint8) uint8 {
	switch {
	case s < 4:
		return 0
	case s < 10:
		return s - 3
	}
	return s - 6
}

func stateMatch(s uint8) uint8 { return afterState(s, 7, 10) }
func stateRep(s uint8) uint8   { return afterState(s, 8, 11) }
func stateShort(s uint8) uint8 { return afterState(s, 9, 11) }

func afterState(s, literal, match uint8) uint8 {
	if s < afterMatch {
		return literal
	}
	return match
}

// distSlot returns the class of a distance: its highest two bits and how many follow.
func distSlot(dist uint32) uint32 {
	if dist < 4 {
		return dist
	}
	n := uint32(bits.Len32(dist)) - 1
	return n<<1 | dist>>(n-1)&1
}

func lenState(n uint32) uint32 { return min(n-minMatch, 3) }
