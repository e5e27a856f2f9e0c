package squash

import (
	"encoding/binary"
	"fmt"
)

// The branch filters of xz: they turn the relative targets of calls into absolute ones before compression, so that
// calls of one function look alike. Undone here in place, from offset 0. Which bits of an instruction hold the target
// is each processor's; which patterns are touched is The .xz File Format 1.1.0, 5.3.2, as liblzma does it.
const (
	branchX86 = 4 + iota
	branchPowerPC
	branchIA64
	branchARM
	branchThumb
	branchSPARC
	branchARM64
)

func branchDecode(filter byte, b []byte) error {
	switch filter {
	case branchX86:
		branchDecodeX86(b)
	case branchPowerPC:
		eachWord(b, binary.BigEndian, func(v, pc uint32) uint32 {
			if v&0xfc000003 != 0x48000001 {
				return v
			}
			return v&^0x03fffffc | (v-pc)&0x03fffffc
		})
	case branchIA64:
		branchDecodeIA64(b)
	case branchARM:
		eachWord(b, binary.LittleEndian, func(v, pc uint32) uint32 {
			if v>>24 != 0xeb {
				return v
			}
			return 0xeb000000 | (v<<2-pc-8)>>2&0xffffff
		})
	case branchThumb:
		branchDecodeThumb(b)
	case branchSPARC:
		eachWord(b, binary.BigEndian, func(v, pc uint32) uint32 {
			if v>>22 != 0x100 && v>>22 != 0x1ff {
				return v
			}
			v = (v<<2 - pc) >> 2
			return (0-(v>>22&1))<<22&0x3fffffff | v&0x3fffff | 0x40000000
		})
	case branchARM64:
		eachWord(b, binary.LittleEndian, branchDecodeARM64)
	default:
		return fmt.Errorf("xz: filter %#x is not known", filter)
	}
	return nil
}

func eachWord(b []byte, order binary.ByteOrder, undo func(v, pc uint32) uint32) {
	for i := 0; i+4 <= len(b); i += 4 {
		order.PutUint32(b[i:], undo(order.Uint32(b[i:]), uint32(i)))
	}
}

func branchDecodeARM64(v, pc uint32) uint32 {
	switch {
	case v>>26 == 0x25: // BL
		return 0x94000000 | (v-pc>>2)&0x03ffffff
	case v&0x9f000000 == 0x90000000: // ADRP
		src := v>>29&3 | v>>3&0x1ffffc
		if (src+0x020000)&0x1c0000 != 0 { // out of the range that the encoder converts
			return v
		}
		dest := src - pc>>12
		return v&0x9000001f | dest&3<<29 | dest&0x3fffc<<3 | (0-(dest&0x020000))&0xe00000
	}
	return v
}

func branchDecodeThumb(b []byte) {
	le := binary.LittleEndian
	for i := 0; i+4 <= len(b); i += 2 {
		high, low := uint32(le.Uint16(b[i:])), uint32(le.Uint16(b[i+2:]))
		if high&0xf800 != 0xf000 || low&0xf800 != 0xf800 {
			continue
		}
		dest := ((high&0x7ff)<<11|low&0x7ff)<<1 - uint32(i) - 4
		dest >>= 1
		le.PutUint16(b[i:], uint16(0xf000|dest>>11&0x7ff))
		le.PutUint16(b[i+2:], uint16(0xf800|dest&0x7ff))
		i += 2
	}
}

// branchDecodeX86 undoes the filter for CALL (E8) and JMP (E9). mask remembers which of the last bytes looked like an
// opcode: the encoder skips targets that may be something else.
func branchDecodeX86(b []byte) {
	top := func(c byte) bool { return c == 0 || c == 0xff }
	var mask uint32
	last := -5 // of the previous opcode
	for i := 0; i+5 <= len(b); {
		if b[i]&0xfe != 0xe8 {
			i++
			continue
		}
		gap := i - last
		last = i
		if gap > 5 {
			mask = 0
		} else {
			for range gap {
				mask = mask & 0x77 << 1
			}
		}
		if !top(b[i+4]) || mask>>1 > 4 || mask>>1 == 3 {
			i++
			mask |= 1
			if top(b[i+3]) {
				mask |= 0x10
			}
			continue
		}
		putLE32(b[i+1:], x86Target(le32(b[i+1:]), uint32(i)+5, mask))
		i += 5
		mask = 0
	}
}

// x86Target is the relative target of an instruction that ends at pc.
func x86Target(src, pc, mask uint32) uint32 {
	bits := [5]uint{0, 1, 2, 2, 3}
	for {
		dest := src - pc
		if mask == 0 {
			return dest&0x01ffffff | (0-(dest>>24&1))<<24
		}
		shift := bits[mask>>1] * 8
		if c := byte(dest >> (24 - shift)); c != 0 && c != 0xff {
			return dest&0x01ffffff | (0-(dest>>24&1))<<24
		}
		src = dest ^ (1<<(32-shift) - 1)
	}
}

// branchDecodeIA64 undoes the filter for the branch slots of instruction bundles.
func branchDecodeIA64(b []byte) {
	slots := [32]uint{16: 4, 17: 4, 18: 6, 19: 6, 22: 7, 23: 7, 24: 4, 25: 4, 28: 4, 29: 4}
	le := binary.LittleEndian
	for i := 0; i+16 <= len(b); i += 16 {
		mask := slots[b[i]&0x1f]
		for slot := range uint(3) {
			if mask>>slot&1 == 0 {
				continue
			}
			bit := 5 + 41*slot
			at, shift := i+int(bit/8), bit%8
			var raw [8]byte
			copy(raw[:6], b[at:])
			v := le.Uint64(raw[:])
			ins := v >> shift
			if ins>>37&0xf != 5 || ins>>9&7 != 0 {
				continue
			}
			src := uint32(ins>>13&0xfffff) | uint32(ins>>36&1)<<20
			dest := (src<<4 - uint32(i)) >> 4
			ins &^= uint64(0x8fffff) << 13
			ins |= uint64(dest&0xfffff)<<13 | uint64(dest&0x100000)<<(36-20)
			v = v&(1<<shift-1) | ins<<shift
			le.PutUint64(raw[:], v)
			copy(b[at:at+6], raw[:6])
		}
	}
}
