package lzmaenc

import (
	"bufio"
	"math/bits"
)

// Probabilities have 11 bits and move by a 32nd of what they were wrong.
const (
	probBits  = 11
	probInit  = 1 << (probBits - 1)
	moveBits  = 5
	topValue  = 1 << 24
	priceBits = 4 // prices are 16ths of a bit
	infinite  = 1 << 30
)

type prob = uint16

// rangeCoder writes bits by their probabilities.
type rangeCoder struct {
	w         *bufio.Writer // keeps its first error
	low       uint64
	rng       uint32
	cache     byte
	cacheSize int64
}

func newRangeCoder(w *bufio.Writer) *rangeCoder {
	return &rangeCoder{w: w, rng: 0xffffffff, cacheSize: 1}
}

func (c *rangeCoder) shiftLow() {
	if uint32(c.low) < 0xff000000 || c.low>>32 != 0 {
		carry := byte(c.low >> 32)
		for b := c.cache; c.cacheSize > 0; c.cacheSize-- {
			c.w.WriteByte(b + carry)
			b = 0xff
		}
		c.cache = byte(c.low >> 24)
	}
	c.cacheSize++
	c.low = uint64(uint32(c.low) << 8)
}

func (c *rangeCoder) bit(p *prob, bit uint32) {
	bound := (c.rng >> probBits) * uint32(*p)
	if bit == 0 {
		c.rng = bound
		*p += (1<<probBits - *p) >> moveBits
	} else {
		c.low += uint64(bound)
		c.rng -= bound
		*p -= *p >> moveBits
	}
	for c.rng < topValue {
		c.rng <<= 8
		c.shiftLow()
	}
}

// direct writes the low n bits of v, each as likely as not.
func (c *rangeCoder) direct(v uint32, n int) {
	for n--; n >= 0; n-- {
		c.rng >>= 1
		if v>>n&1 != 0 {
			c.low += uint64(c.rng)
		}
		for c.rng < topValue {
			c.rng <<= 8
			c.shiftLow()
		}
	}
}

// tree writes the n bits of v, highest first.
func (c *rangeCoder) tree(p []prob, v uint32, n int) {
	m := uint32(1)
	for n--; n >= 0; n-- {
		b := v >> n & 1
		c.bit(&p[m], b)
		m = m<<1 | b
	}
}

// treeReverse writes the n bits of v, lowest first.
func (c *rangeCoder) treeReverse(p []prob, v uint32, n int) {
	m := uint32(1)
	for ; n > 0; n-- {
		b := v & 1
		v >>= 1
		c.bit(&p[m], b)
		m = m<<1 | b
	}
}

func (c *rangeCoder) flush() error {
	for range 5 {
		c.shiftLow()
	}
	return c.w.Flush()
}

// prices is what a bit of each probability costs, in 16ths of a bit.
var prices = func() (t [1 << (probBits - priceBits)]uint32) {
	for i := range t {
		// The middle of the class, squared four times: each squaring doubles the logarithm.
		w, n := uint32(i<<priceBits+1<<(priceBits-1)), 0
		for range priceBits {
			w *= w
			n <<= 1
			if over := bits.Len32(w) - 16; over > 0 {
				w >>= over
				n += over
			}
		}
		t[i] = uint32(probBits<<priceBits - 15 - n)
	}
	return t
}()

func price(p prob, bit uint32) uint32 {
	return prices[(uint32(p)^(-bit&(1<<probBits-1)))>>priceBits]
}

func treePrice(p []prob, v uint32, n int) uint32 {
	sum := uint32(0)
	for m := v | 1<<n; m != 1; m >>= 1 {
		sum += price(p[m>>1], m&1)
	}
	return sum
}

func treeReversePrice(p []prob, v uint32, n int) uint32 {
	sum, m := uint32(0), uint32(1)
	for ; n > 0; n-- {
		b := v & 1
		v >>= 1
		sum += price(p[m], b)
		m = m<<1 | b
	}
	return sum
}
