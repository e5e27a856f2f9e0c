package lzmaenc

// chunk is how many bytes are planned at once at most; refresh is after how many symbols the prices are taken anew.
const (
	chunk   = 4096
	refresh = 128
)

// literal as a step's back; 0 to 3 is a repeated distance, more is a distance plus 4.
const literal = 1<<32 - 1

// step is one symbol: a literal, or a match of length bytes.
type step struct{ back, length uint32 }

// node is the cheapest known way to a place: from the node length bytes before, or, if tail is not 0, tail+1 more
// bytes before by a literal and a match of length tail at the last distance behind the step. A step without length is none.
type node struct {
	price uint32
	step
	tail  uint32
	state uint8
	reps  [4]uint32
}

// from is how far before a node its way begins.
func (n *node) from() int {
	if n.tail > 0 {
		return int(n.length + 1 + n.tail)
	}
	return int(n.length)
}

// parse plans the next symbols, and moves the search behind them.
func (e *encoder) parse() []step {
	if e.since >= refresh {
		e.takePrices()
	}
	e.nodes[0] = node{state: e.state, reps: e.reps}
	cur, end := 0, 0
	for ; ; cur++ {
		if cur > 0 {
			e.settle(cur)
		}
		if cur > 0 && cur == end || cur >= chunk {
			break
		}
		found := e.match.next()
		data := e.match.buf[e.pos+uint32(cur)-e.match.base:]
		data = data[:min(len(data), 2*maxMatch)]
		if forced, ok := e.obvious(cur, data, found); ok {
			e.match.skip(int(forced.length) - 1)
			return e.trace(cur, forced)
		}
		end = e.relax(cur, end, data, found)
	}
	return e.trace(cur, step{})
}

// settle works out state and repeated distances of a node from the one it comes from.
func (e *encoder) settle(cur int) {
	n := &e.nodes[cur]
	from := &e.nodes[cur-n.from()]
	n.state, n.reps = from.state, from.reps
	if n.length > 0 {
		n.state, n.reps = after(n.state, n.reps, n.step)
	}
	if n.tail > 0 {
		n.state = stateRep(stateLiteral(n.state))
	}
}

func after(state uint8, reps [4]uint32, s step) (uint8, [4]uint32) {
	switch {
	case s.back == literal:
		return stateLiteral(state), reps
	case s.length == 1:
		return stateShort(state), reps
	case s.back < 4:
		return stateRep(state), rotate(reps, s.back)
	}
	return stateMatch(state), [4]uint32{s.back - 4, reps[0], reps[1], reps[2]}
}

// obvious returns a match that is so long that no other way is looked at.
func (e *encoder) obvious(cur int, data []byte, found []match) (step, bool) {
	n := &e.nodes[cur]
	limit := min(len(data), maxMatch)
	pos := e.pos + uint32(cur)
	for i, d := range n.reps {
		if d >= pos {
			continue
		}
		if l := common(e.match.buf[pos-d-1-e.match.base:], data, limit); l >= e.match.nice {
			return step{uint32(i), uint32(l)}, true
		}
	}
	if len(found) == 0 {
		return step{}, false
	}
	last := found[len(found)-1]
	if int(last.length) < e.match.nice {
		return step{}, false
	}
	l := common(e.match.buf[pos-last.dist-1-e.match.base:], data, limit)
	return step{last.dist + 4, uint32(l)}, true
}

// trace returns the steps up to the node cur, and the one behind it if it has a length.
func (e *encoder) trace(cur int, more step) []step {
	plan := e.plan[:0]
	if more.length > 0 {
		plan = append(plan, more)
	}
	for cur > 0 {
		n := &e.nodes[cur]
		if n.tail > 0 {
			plan = append(plan, step{0, n.tail}, step{literal, 1})
		}
		if n.length > 0 {
			plan = append(plan, n.step)
		}
		cur -= n.from()
	}
	for i, j := 0, len(plan)-1; i < j; i, j = i+1, j-1 {
		plan[i], plan[j] = plan[j], plan[i]
	}
	e.plan = plan
	return plan
}

// offer notes a way to the node at, and returns the farthest node with any.
func (e *encoder) offer(at, end int, price uint32, s step, tail uint32) int {
	for end < at {
		end++
		e.nodes[end].price = infinite
	}
	if n := &e.nodes[at]; price < n.price {
		n.price, n.step, n.tail = price, s, tail
	}
	return end
}

// relax offers every way on from the node cur.
func (e *encoder) relax(cur, end int, data []byte, found []match) int {
	n := e.nodes[cur]
	pos := e.pos + uint32(cur)
	posState := pos & e.posMask
	old := func(dist uint32) []byte { return e.match.buf[pos-dist-1-e.match.base:] }
	matchByte := byte(0)
	rep0 := n.reps[0] < pos
	if rep0 {
		matchByte = old(n.reps[0])[0]
	}
	p := e.isMatch[n.state][posState]
	lit := n.price + price(p, 0) + e.literalPrice(n.state, pos, e.before(pos, 1), matchByte, data[0])
	end = e.offer(cur+1, end, lit, step{literal, 1}, 0)
	matchPrice := n.price + price(p, 1)
	repPrice := matchPrice + price(e.isRep[n.state], 1)
	if rep0 && matchByte == data[0] {
		end = e.offer(cur+1, end, repPrice+price(e.isRepG0[n.state], 0)+price(e.isRep0Long[n.state][posState], 0), step{0, 1}, 0)
	}
	limit := min(len(data), maxMatch)
	if limit < minMatch {
		return end
	}
	if rep0 && matchByte != data[0] {
		end = e.offerTail(cur, end, lit, stateLiteral(n.state), n.reps[0], step{}, data)
	}
	start := uint32(minMatch)
	for i, d := range n.reps {
		if d >= pos {
			continue
		}
		l := uint32(common(old(d), data, limit))
		if l < minMatch {
			continue
		}
		base := repPrice + e.whichRep(n.state, posState, i)
		for k := uint32(minMatch); k <= l; k++ {
			end = e.offer(cur+int(k), end, base+e.repPrice[posState][k], step{uint32(i), k}, 0)
		}
		end = e.offerAfter(cur, end, base+e.repPrice[posState][l], stateRep(n.state), d, step{uint32(i), l}, data)
		if i == 0 {
			start = l + 1
		}
	}
	base := matchPrice + price(e.isRep[n.state], 0)
	for _, m := range found {
		for k := start; k <= m.length; k++ {
			end = e.offer(cur+int(k), end, base+e.lenPrice[posState][k]+e.distPrice(m.dist, lenState(k)), step{m.dist + 4, k}, 0)
		}
		if m.length >= start {
			start = m.length + 1
			pr := base + e.lenPrice[posState][m.length] + e.distPrice(m.dist, lenState(m.length))
			end = e.offerAfter(cur, end, pr, stateMatch(n.state), m.dist, step{m.dist + 4, m.length}, data)
		}
	}
	return end
}

// offerAfter offers a match, then a literal, then the same distance again.
func (e *encoder) offerAfter(cur, end int, pr uint32, state uint8, dist uint32, s step, data []byte) int {
	l := s.length
	if int(l)+minMatch >= len(data) {
		return end
	}
	pos := e.pos + uint32(cur) + l
	matchByte := e.match.buf[pos-dist-1-e.match.base]
	if matchByte == data[l] {
		return end
	}
	pr += price(e.isMatch[state][pos&e.posMask], 0) + e.literalPrice(state, pos, data[l-1], matchByte, data[l])
	return e.offerTail(cur, end, pr, stateLiteral(state), dist, s, data)
}

// offerTail offers the match at the last distance behind the literal that follows s.
func (e *encoder) offerTail(cur, end int, pr uint32, state uint8, dist uint32, s step, data []byte) int {
	skip := s.length + 1
	pos := e.pos + uint32(cur) + skip
	limit := min(len(data)-int(skip), e.match.nice)
	if limit < minMatch {
		return end
	}
	l := uint32(common(e.match.buf[pos-dist-1-e.match.base:], data[skip:], limit))
	if l < minMatch {
		return end
	}
	posState := pos & e.posMask
	pr += price(e.isMatch[state][posState], 1) + price(e.isRep[state], 1) + e.whichRep(state, posState, 0) + e.repPrice[posState][l]
	return e.offer(cur+int(skip+l), end, pr, s, l)
}

func (e *encoder) literalPrice(state uint8, pos uint32, prev, matchByte, c byte) uint32 {
	p := e.literals(pos, prev)
	if state < afterMatch {
		return treePrice(p, uint32(c), 8)
	}
	sum, m, offset, sym := uint32(0), uint32(matchByte), uint32(0x100), uint32(c)|0x100
	for sym < 0x10000 {
		m <<= 1
		sum += price(p[offset+m&offset+sym>>8], sym>>7&1)
		sym <<= 1
		offset &= ^(m ^ sym)
	}
	return sum
}

func (e *encoder) whichRep(state uint8, posState uint32, i int) uint32 {
	if i == 0 {
		return price(e.isRepG0[state], 0) + price(e.isRep0Long[state][posState], 1)
	}
	sum := price(e.isRepG0[state], 1)
	if i == 1 {
		return sum + price(e.isRepG1[state], 0)
	}
	return sum + price(e.isRepG1[state], 1) + price(e.isRepG2[state], uint32(i-2))
}

func (e *encoder) distPrice(dist, lenState uint32) uint32 {
	if dist < fullDists {
		return e.dists[lenState][dist]
	}
	return e.slots[lenState][distSlot(dist)] + e.aligns[dist&15]
}

// takePrices works out the tables of prices.
func (e *encoder) takePrices() {
	e.since = 0
	e.length.prices(&e.lenPrice, e.posMask+1)
	e.repLength.prices(&e.repPrice, e.posMask+1)
	for i := range uint32(16) {
		e.aligns[i] = treeReversePrice(e.align[:], i, 4)
	}
	var footers [fullDists]uint32
	for d := uint32(4); d < fullDists; d++ {
		slot := distSlot(d)
		footer := int(slot>>1) - 1
		base := (2 | slot&1) << footer
		footers[d] = treeReversePrice(e.special[base-slot:], d-base, footer)
	}
	for l := range e.slots {
		for slot := range uint32(64) {
			e.slots[l][slot] = treePrice(e.slot[l][:], slot, 6)
		}
		for d := range uint32(fullDists) {
			e.dists[l][d] = e.slots[l][distSlot(d)] + footers[d]
		}
		for slot := uint32(14); slot < 64; slot++ {
			e.slots[l][slot] += (slot>>1 - 5) << priceBits
		}
	}
}
