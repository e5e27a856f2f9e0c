// Package lztest holds what the tests of the encoders share: inputs of all kinds, the promises that every encoder makes,
// and the way its speed is measured.
package lztest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
)

// MaxBlock is the largest block of squashfs, and of Blocks.
const MaxBlock = 1 << 20

// Blocks are the kinds of blocks that have their own path through an encoder, the same on every machine. sizes are those
// at which a format does something else.
func Blocks(sizes ...int) map[string][]byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, MaxBlock)
	for i := range random {
		random[i] = byte(rnd.Uint32())
	}
	skewed := make([]byte, 200_000) // few matches, codes of very different lengths
	for i := range skewed {
		skewed[i] = byte(rnd.Uint32()) & byte(rnd.Uint32()) & byte(rnd.Uint32()>>2)
	}
	var words []byte
	for len(words) < MaxBlock {
		words = fmt.Appendf(words, "%s %d ", []string{"root", "the", "of", "slot", "boot", "kernel"}[rnd.IntN(6)], rnd.IntN(900))
	}
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	m := map[string][]byte{
		"zeros 128K":       make([]byte, 128<<10),
		"zeros 1M":         make([]byte, MaxBlock),
		"random 128K":      random[:128<<10],
		"random 1M":        random,
		"skewed":           skewed,
		"words 128K":       words[:128<<10],
		"words 1M":         words[:MaxBlock],
		"every byte":       all,
		"every byte often": bytes.Repeat(all, 1000),
		"zeros in random":  append(append(bytes.Clone(random[:70_000]), make([]byte, 140_000)...), random[:90_000]...),
		"period 3":         bytes.Repeat([]byte("abc"), 100_000),
		"long period":      bytes.Repeat(random[:5000], 200),
		"random then text": append(bytes.Clone(random[:128<<10]), words[:200_000]...),
	}
	for n := range 40 {
		m[fmt.Sprintf("zeros %d", n)] = make([]byte, n)
		sizes = append(sizes, n)
	}
	for _, n := range sizes {
		m[fmt.Sprintf("words %d", n)] = words[:n]
		m[fmt.Sprintf("random %d", n)] = random[:n]
	}
	return m
}

// WindowBlocks are Blocks for a format whose matches reach back no further than far.
func WindowBlocks(far int) map[string][]byte {
	sizes := []int{255, 256, 257, 258, 259, 260, 4096, 65535, 65536, 128<<10 - 1, 128<<10 + 1, 128<<10 + 7, 300_001}
	m := Blocks(sizes...)
	random := m["random 1M"]
	m["far away"] = append(bytes.Clone(random[:far]), random[:far]...)
	m["too far away"] = append(bytes.Clone(random[:far+1]), random[:far+1]...)
	m["fibonacci"] = fibonacci()
	for _, n := range sizes {
		m[fmt.Sprintf("zeros %d", n)] = make([]byte, n)
	}
	return m
}

// fibonacci is bytes whose counts make Huffman's algorithm want codes of more than 15 bits, in an order without long
// matches.
func fibonacci() []byte {
	var b []byte
	a, n := 1, 1
	for s := range 24 {
		b = append(b, bytes.Repeat([]byte{byte(s)}, n)...)
		a, n = n, a+n
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	rnd.Shuffle(len(b), func(i, j int) { b[i], b[j] = b[j], b[i] })
	return b[:min(len(b), MaxBlock)]
}

// Kinds are those of Sample.
func Kinds() []string { return []string{"zeros", "noise", "words", "lines", "steps", "mixed"} }

// Sample makes size bytes of a kind that stresses one part of a compressor.
func Sample(kind string, size int, r *rand.Rand) []byte {
	words := strings.Fields("the of and a to in is you that it he was for on are as with his they I at be this have from")
	var b []byte
	for len(b) < size {
		switch kind {
		case "zeros":
			b = append(b, 0)
		case "noise": // stored blocks
			b = append(b, byte(r.Uint32()))
		case "words":
			b = append(b, words[r.IntN(len(words))]+" "...)
		case "lines": // long matches, near and far
			b = fmt.Appendf(b, "%s: update %s (Closes: #%d)\n", words[r.IntN(9)], words[r.IntN(9)], r.IntN(40))
		case "steps": // runs of one byte, and counts whose codes are longer than a format allows
			n := 1 << r.IntN(18)
			b = append(b, bytes.Repeat([]byte{byte(r.IntN(1 + n/700))}, 1+r.IntN(3))...)
		case "mixed": // far apart, and ends of blocks before they are full
			if r.IntN(3000) == 0 {
				b = append(b, Sample("noise", 5000, r)...)
			}
			if r.IntN(3000) == 0 {
				b = append(b, Sample("zeros", 40000, r)...)
			}
			b = append(b, Sample("lines", 40, r)...)
		}
	}
	return b[:size]
}
