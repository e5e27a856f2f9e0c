package squash

import "encoding/binary"

// A third of what real images hold is packed already: photos, firmware, modules and archives. An encoder works hardest on
// such a block, only to find that it has to be stored plain. isNoise foresees that for a hundredth of the time. It belongs
// to the layout, not to an encoder: whoever rebuilds the image sees in the block's size that it is stored plain.

const (
	// noiseLeast is the least size of a block that is looked at, in bytes: below it statistics say little.
	noiseLeast = 16 << 10
	// noiseSpread is the most that chi-squared of the bytes' frequencies, with 255 degrees of freedom, may be. Equal
	// ones have 255 on average. Coding the bytes by their frequencies saves about a tenth of it in bytes: 256 here, of
	// which a table of codes takes half, in a block of 128 KiB.
	noiseSpread = 2840
	// noiseSample is how many bytes are counted first. What is not packed shows in them already.
	noiseSample = 4 << 10
	// noiseTableLog is the size of the table of places that may come again.
	noiseTableLog = 14
)

// isNoise tells whether no encoder would make block noticeably smaller: its bytes are equally frequent, and no run of 6
// bytes, of one place in 16, has been there before. It uses whole numbers only, so that every machine finds the same.
func isNoise(block []byte) bool {
	if len(block) < noiseLeast {
		return false
	}
	var sample [noiseSample]byte
	stride := len(block) / (noiseSample / 64)
	for i := 0; i < noiseSample; i += 64 {
		copy(sample[i:i+64], block[i/64*stride:])
	}
	return evenlySpread(sample[:]) && evenlySpread(block) && !comesAgain(block)
}

// evenlySpread tells whether all byte values are about equally frequent.
func evenlySpread(b []byte) bool {
	var counts [4][256]uint32 // so that equal neighbours do not wait for each other
	i := 0
	for ; i+4 <= len(b); i += 4 {
		v := binary.LittleEndian.Uint32(b[i:])
		counts[0][byte(v)]++
		counts[1][byte(v>>8)]++
		counts[2][byte(v>>16)]++
		counts[3][byte(v>>24)]++
	}
	for ; i < len(b); i++ {
		counts[0][b[i]]++
	}
	squares := uint64(0)
	for v := range 256 {
		n := uint64(counts[0][v] + counts[1][v] + counts[2][v] + counts[3][v])
		squares += n * n
	}
	n := uint64(len(b))
	return 256*squares <= n*n+noiseSpread*n // chi-squared is 256*squares/n - n
}

// comesAgain tells whether a run of 6 bytes stands at two places of b. It looks at places that the bytes themselves choose,
// so that it meets a copy at the same places as its original, wherever that is.
func comesAgain(b []byte) bool {
	var last [1 << noiseTableLog]uint32
	for i := 0; i+8 <= len(b); i++ {
		h := (binary.LittleEndian.Uint64(b[i:]) << 16) * 0x9e3779b97f4a7c15
		if h>>60 != 0 {
			continue
		}
		slot := h << 4 >> (64 - noiseTableLog)
		if at := last[slot]; at != 0 && string(b[at-1:at+5]) == string(b[i:i+6]) {
			return true
		}
		last[slot] = uint32(i + 1)
	}
	return false
}
