package lzmaenc

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// Params says how to compress. Dict must be set; LC, LP and PB are what the format calls lc, lp and pb.
type Params struct {
	Dict       int // bytes that matches reach back, and that the decoder must keep; a power of two, 4 KiB to 64 MiB
	LC, LP, PB int // bits of the byte before and of the place that choose statistics; LC+LP and PB at most 4
}

// niceLength and depth are the effort of the search. Long runs of zeros need depth: at 64, they cost a third more.
const niceLength = maxMatch

func depth(size int64) int {
	if size < 8<<20 {
		return 512
	}
	return 96
}

// Encode writes the size bytes of r to w as an LZMA stream: the 13 bytes of the .lzma header, then the coded bytes,
// without an end marker. It is an error if r holds less or more.
func Encode(w io.Writer, r io.Reader, size int64, p Params) error {
	if p.Dict < 4<<10 || p.Dict > 64<<20 || p.Dict&(p.Dict-1) != 0 || p.LC < 0 || p.LP < 0 || p.PB < 0 || p.LC+p.LP > 4 || p.PB > 4 || size < 0 || size >= 1<<32-1 {
		return fmt.Errorf("compress lzma: %+v, %d bytes: out of range", p, size)
	}
	out := bufio.NewWriter(w)
	head := []byte{byte((p.PB*5+p.LP)*9 + p.LC)}
	dict := uint32(4 << 10) // a power of two, as decoders want it, and no more than there is to look back at
	for int64(dict) < size && dict < uint32(p.Dict) {
		dict *= 2
	}
	head = binary.LittleEndian.AppendUint32(head, dict)
	out.Write(binary.LittleEndian.AppendUint64(head, uint64(size)))
	e := newEncoder(out, newMatcher(r, dict, niceLength, depth(size)), p)
	for {
		e.match.fill()
		if len(e.match.ahead()) == 0 {
			break
		}
		e.write(e.parse())
	}
	if e.match.err != io.EOF {
		return fmt.Errorf("compress lzma: %w", e.match.err)
	}
	if int64(e.pos) != size {
		return fmt.Errorf("compress lzma: %d bytes, want %d", e.pos, size)
	}
	return e.rc.flush()
}

// encoder codes one stream.
type encoder struct {
	*model
	rc    *rangeCoder
	match *matcher
	pos   uint32 // place in the stream of what is coded next
	state uint8
	reps  [4]uint32

	lc, lpMask, posMask uint32
	lpShift             uint32

	// Prices, taken from the model now and then.
	since    int // symbols coded since
	lenPrice [posStates][maxMatch + 1]uint32
	repPrice [posStates][maxMatch + 1]uint32
	slots    [4][64]uint32 // with their direct bits
	dists    [4][fullDists]uint32
	aligns   [16]uint32
	nodes    []node
	plan     []step
}

func newEncoder(w *bufio.Writer, m *matcher, p Params) *encoder {
	return &encoder{model: newModel(p.LC + p.LP), rc: newRangeCoder(w), match: m, lc: uint32(p.LC), lpMask: 1<<p.LP - 1, posMask: 1<<p.PB - 1,
		since: refresh, nodes: make([]node, chunk+4*maxMatch)}
}

// literals returns the statistics of the literal at a place.
func (e *encoder) literals(pos uint32, prev byte) []prob {
	ctx := (pos&e.lpMask)<<e.lc | uint32(prev)>>(8-e.lc)
	return e.literal[0x300*ctx:][:0x300]
}

// before returns the byte that stands back bytes before pos, 0 before the beginning.
func (e *encoder) before(pos, back uint32) byte {
	if back > pos {
		return 0
	}
	return e.match.buf[pos-back-e.match.base]
}

// write codes the steps of a plan.
func (e *encoder) write(plan []step) {
	for _, s := range plan {
		posState := e.pos & e.posMask
		e.since++
		if s.back == literal {
			e.rc.bit(&e.isMatch[e.state][posState], 0)
			e.writeLiteral()
			e.state = stateLiteral(e.state)
			e.pos++
			continue
		}
		e.rc.bit(&e.isMatch[e.state][posState], 1)
		if s.back < 4 {
			e.writeRep(s, posState)
		} else {
			e.rc.bit(&e.isRep[e.state], 0)
			e.length.encode(e.rc, s.length, posState)
			e.writeDist(s.back-4, lenState(s.length))
			e.state = stateMatch(e.state)
			e.reps = [4]uint32{s.back - 4, e.reps[0], e.reps[1], e.reps[2]}
		}
		e.pos += s.length
	}
}

func (e *encoder) writeLiteral() {
	p := e.literals(e.pos, e.before(e.pos, 1))
	c := uint32(e.before(e.pos, 0))
	if e.state < afterMatch {
		e.rc.tree(p, c, 8)
		return
	}
	m, offset, sym := uint32(e.before(e.pos, e.reps[0]+1)), uint32(0x100), c|0x100
	for sym < 0x10000 {
		m <<= 1
		e.rc.bit(&p[offset+m&offset+sym>>8], sym>>7&1)
		sym <<= 1
		offset &= ^(m ^ sym)
	}
}

func (e *encoder) writeRep(s step, posState uint32) {
	e.rc.bit(&e.isRep[e.state], 1)
	if s.back == 0 {
		e.rc.bit(&e.isRepG0[e.state], 0)
		long := uint32(1)
		if s.length == 1 {
			long = 0
		}
		e.rc.bit(&e.isRep0Long[e.state][posState], long)
	} else {
		e.rc.bit(&e.isRepG0[e.state], 1)
		if s.back == 1 {
			e.rc.bit(&e.isRepG1[e.state], 0)
		} else {
			e.rc.bit(&e.isRepG1[e.state], 1)
			e.rc.bit(&e.isRepG2[e.state], s.back-2)
		}
		e.reps = rotate(e.reps, s.back)
	}
	if s.length == 1 {
		e.state = stateShort(e.state)
		return
	}
	e.repLength.encode(e.rc, s.length, posState)
	e.state = stateRep(e.state)
}

// rotate moves the repeated distance i to the front.
func rotate(reps [4]uint32, i uint32) [4]uint32 {
	d := reps[i]
	copy(reps[1:i+1], reps[:i])
	reps[0] = d
	return reps
}

func (e *encoder) writeDist(dist, lenState uint32) {
	slot := distSlot(dist)
	e.rc.tree(e.slot[lenState][:], slot, 6)
	if slot < 4 {
		return
	}
	footer := int(slot>>1) - 1
	base := (2 | slot&1) << footer
	if slot < 14 {
		e.rc.treeReverse(e.special[base-slot:], dist-base, footer)
		return
	}
	e.rc.direct((dist-base)>>4, footer-4)
	e.rc.treeReverse(e.align[:], dist&15, 4)
}
