package deflate

import "encoding/binary"

// The kinds of blocks (RFC 1951, 3.2.3), behind the bit that says whether it is the last.
const (
	blockStored  = 0 << 1
	blockFixed   = 1 << 1
	blockDynamic = 2 << 1
)

// StoredMax is the most bytes of a block that is stored.
const StoredMax = 65535

// Writer appends bits to Out, least significant first. The last up to 31 bits are still missing until Align.
type Writer struct {
	Out []byte
	acc uint64
	n   uint
}

// Reset begins a stream behind dst.
func (w *Writer) Reset(dst []byte) { w.Out, w.acc, w.n = dst, 0, 0 }

// add appends the low n bits of v, at most 32; the bits above must be zero.
func (w *Writer) add(v uint64, n uint) {
	w.acc |= v << (w.n & 63)
	if w.n += n; w.n >= 32 {
		w.Out = binary.LittleEndian.AppendUint32(w.Out, uint32(w.acc))
		w.acc >>= 32
		w.n -= 32
	}
}

// Align fills the last byte with zeros.
func (w *Writer) Align() {
	for w.n > 0 {
		w.Out = append(w.Out, byte(w.acc))
		w.acc >>= 8
		w.n -= min(w.n, 8)
	}
	w.acc = 0
}

// End aligns the stream and returns it; the Writer forgets it.
func (w *Writer) End() []byte {
	w.Align()
	out := w.Out
	w.Out = nil
	return out
}

func (w *Writer) header(kind uint64, last bool) {
	if last {
		kind |= 1
	}
	w.add(kind, 3)
}

// Stored appends plain as it is, in as many blocks as that takes: one at least.
func (w *Writer) Stored(plain []byte, last bool) {
	for {
		n := min(len(plain), StoredMax)
		w.header(blockStored, last && n == len(plain))
		w.Align()
		w.Out = binary.LittleEndian.AppendUint16(w.Out, uint16(n))
		w.Out = binary.LittleEndian.AppendUint16(w.Out, ^uint16(n))
		w.Out = append(w.Out, plain[:n]...)
		if plain = plain[n:]; len(plain) == 0 {
			return
		}
	}
}

// Fixed appends a block of tokens with the codes that need no description.
func (w *Writer) Fixed(tokens []Token, last bool) {
	w.header(blockFixed, last)
	w.tokens(tokens, &fixedSymbol, &fixedDistance)
}

// Dynamic appends a block of tokens with codes of its own.
func (w *Writer) Dynamic(tokens []Token, d *Description, last bool) {
	w.header(blockDynamic, last)
	w.add(uint64(d.Symbol.SentSymbols()-FirstLength), 5)
	w.add(uint64(d.Distance.SentDistances()-1), 5)
	w.add(uint64(d.codes()-4), 4)
	for _, s := range codeOrder[:d.codes()] {
		w.add(uint64(d.Lengths.Length[s]), 3)
	}
	for _, r := range d.Runs {
		s := r.Symbol()
		n := uint(d.Lengths.Length[s])
		w.add(uint64(d.Lengths.bits[s])|uint64(r>>5)<<n, n+uint(extraBits(s)))
	}
	w.tokens(tokens, d.Symbol, d.Distance)
}

// tokens appends tokens and the end of the block.
func (w *Writer) tokens(tokens []Token, symbol, distance *Code) {
	for _, t := range tokens {
		if !t.IsMatch() {
			w.add(uint64(symbol.bits[uint8(t)]), uint(symbol.Length[uint8(t)]))
			continue
		}
		l := uint32(t) >> 16 & 0xff
		s := lengthSymbol[l]
		n := uint(symbol.Length[FirstLength+int(s)])
		w.add(uint64(symbol.bits[FirstLength+int(s)])|uint64(l-uint32(lengthBase[s]))<<n, n+uint(lengthExtra[s]))
		d, extra := DistanceSymbol(t.Distance())
		n = uint(distance.Length[d])
		w.add(uint64(distance.bits[d])|uint64((t.Distance()-1)&(1<<extra-1))<<n, n+uint(extra))
	}
	w.add(uint64(symbol.bits[EndOfBlock]), uint(symbol.Length[EndOfBlock]))
}
