package flateenc

import "encoding/binary"

// writer appends bits, least significant first.
type writer struct {
	acc uint64
	n   uint
	out []byte
}

// add appends the low n bits of v, at most 32; the bits above must be zero.
func (w *writer) add(v uint64, n uint) {
	w.acc |= v << (w.n & 63)
	if w.n += n; w.n >= 32 {
		w.out = binary.LittleEndian.AppendUint32(w.out, uint32(w.acc))
		w.acc >>= 32
		w.n -= 32
	}
}

// align fills the last byte with zeros.
func (w *writer) align() {
	for w.n > 0 {
		w.out = append(w.out, byte(w.acc))
		w.acc >>= 8
		w.n -= min(w.n, 8)
	}
	w.acc = 0
}

// blocks writes blocks of deflate.
type blocks struct {
	writer
	coder
	stats    counts
	symbol   code
	distance code
	lengths  code // of the code lengths
	run      []uint16
	fixed    code
	fixedFar code
}

func (b *blocks) init() {
	for s := range fixedSymbols {
		b.fixed.length[s] = fixedBits(s)
	}
	b.fixed.assign(fixedSymbols)
	for s := range distances {
		b.fixedFar.length[s] = 5
	}
	b.fixedFar.assign(distances)
}

// append writes tokens, which stand for plain, in the cheapest of the three kinds of blocks.
func (b *blocks) append(tokens []token, plain []byte, last bool) {
	b.stats = counts{}
	b.stats.add(tokens, 1)
	b.stats.symbol[endOfBlock] = 1
	b.build(&b.symbol, b.stats.symbol[:], maxBits)
	b.build(&b.distance, b.stats.distance[:], maxBits)
	header := b.describe()
	dynamic := header + b.size(&b.symbol, &b.distance)
	fixed := b.size(&b.fixed, &b.fixedFar)
	stored := 8*len(plain) + (len(plain)+storedMax-1)/storedMax*(32+7)
	final := uint64(0)
	if last {
		final = 1
	}
	switch {
	case stored <= min(dynamic, fixed):
		b.appendStored(plain, final)
	case fixed <= dynamic:
		b.add(final|blockFixed<<1, 3)
		b.appendTokens(tokens, &b.fixed, &b.fixedFar)
	default:
		b.add(final|blockDynamic<<1, 3)
		b.appendDescription()
		b.appendTokens(tokens, &b.symbol, &b.distance)
	}
}

// size is the bits that the tokens of b.stats take, with the end of the block.
func (b *blocks) size(symbol, distance *code) int {
	n := 0
	for s, c := range b.stats.symbol {
		n += int(c) * int(symbol.length[s])
	}
	for s, c := range b.stats.symbol[firstLength:] {
		n += int(c) * int(lengthExtra[s])
	}
	for s, c := range b.stats.distance {
		n += int(c) * (int(distance.length[s]) + max(s/2-1, 0))
	}
	return n
}

func (b *blocks) appendStored(plain []byte, final uint64) {
	for {
		n := min(len(plain), storedMax)
		f := final
		if n < len(plain) {
			f = 0
		}
		b.add(f|blockStored<<1, 3)
		b.align()
		b.out = binary.LittleEndian.AppendUint16(b.out, uint16(n))
		b.out = binary.LittleEndian.AppendUint16(b.out, ^uint16(n))
		b.out = append(b.out, plain[:n]...)
		if plain = plain[n:]; len(plain) == 0 {
			return
		}
	}
}

func (b *blocks) appendTokens(tokens []token, symbol, distance *code) {
	for _, t := range tokens {
		if !t.isMatch() {
			b.add(uint64(symbol.bits[uint8(t)]), uint(symbol.length[uint8(t)]))
			continue
		}
		l := uint32(t) >> 16 & 0xff
		s := lengthSymbol[l]
		n := uint(symbol.length[firstLength+int(s)])
		b.add(uint64(symbol.bits[firstLength+int(s)])|uint64(l-uint32(lengthBase[s]))<<n, n+uint(lengthExtra[s]))
		d, extra := distanceSymbol(t.distance())
		n = uint(distance.length[d])
		b.add(uint64(distance.bits[d])|uint64((t.distance()-1)&(1<<extra-1))<<n, n+uint(extra))
	}
	b.add(uint64(symbol.bits[endOfBlock]), uint(symbol.length[endOfBlock]))
}

// describe prepares the description of b.symbol and b.distance (RFC 1951, 3.2.7) and returns its bits. b.run becomes its
// symbols, each with its extra bits above bit 5.
func (b *blocks) describe() int {
	var all [symbols + distances]uint8
	n := copy(all[:], b.symbol.length[:b.symbols()])
	n += copy(all[n:], b.distance.length[:b.distances()])
	b.run = b.run[:0]
	var count [lengthCodes]uint32
	put := func(symbol, extra int) {
		b.run = append(b.run, uint16(symbol|extra<<5))
		count[symbol]++
	}
	for i := 0; i < n; {
		same := 1
		for i+same < n && all[i+same] == all[i] {
			same++
		}
		i += same
		if v := int(all[i-1]); v == 0 {
			for same >= 3 {
				k := min(same, 138)
				if k >= 11 {
					put(18, k-11)
				} else {
					put(17, k-3)
				}
				same -= k
			}
		} else {
			put(v, 0)
			for same--; same >= 3; {
				k := min(same, 6)
				if same-k == 1 || same-k == 2 { // no leftover that is sent one by one
					k = max(3, same-3)
					k = min(k, 6)
				}
				put(16, k-3)
				same -= k
			}
		}
		for ; same > 0; same-- {
			put(int(all[i-1]), 0)
		}
	}
	b.build(&b.lengths, count[:], maxCodeBits)
	size := 3 + 5 + 5 + 4 + 3*b.codes()
	for s, c := range count {
		size += int(c) * (int(b.lengths.length[s]) + runExtra(s))
	}
	return size
}

// runExtra is how many extra bits a symbol of a description has.
func runExtra(symbol int) int {
	switch symbol {
	case 16:
		return 2
	case 17:
		return 3
	case 18:
		return 7
	}
	return 0
}

// symbols, distances and codes are how many lengths are sent of each code.
func (b *blocks) symbols() int { return lastUsed(b.symbol.length[:symbols], firstLength) }

func (b *blocks) distances() int { return lastUsed(b.distance.length[:distances], 1) }

func lastUsed(length []uint8, least int) int {
	n := len(length)
	for n > least && length[n-1] == 0 {
		n--
	}
	return n
}

func (b *blocks) codes() int {
	n := lengthCodes
	for n > 4 && b.lengths.length[codeOrder[n-1]] == 0 {
		n--
	}
	return n
}

func (b *blocks) appendDescription() {
	b.add(uint64(b.symbols()-firstLength), 5)
	b.add(uint64(b.distances()-1), 5)
	b.add(uint64(b.codes()-4), 4)
	for _, s := range codeOrder[:b.codes()] {
		b.add(uint64(b.lengths.length[s]), 3)
	}
	for _, r := range b.run {
		s := r & 31
		n := uint(b.lengths.length[s])
		b.add(uint64(b.lengths.bits[s])|uint64(r>>5)<<n, n+uint(runExtra(int(s))))
	}
}
