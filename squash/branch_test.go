package squash

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os/exec"
	"testing"

	"github.com/slotboot/slotboot/internal/need"
)

// machineCode is noise in which every third word is an instruction that one of the filters changes.
func machineCode(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	le, be := binary.LittleEndian, binary.BigEndian
	for i := 0; i+32 <= n; i += 12 {
		switch r.IntN(9) {
		case 0: // x86 CALL and JMP, near and doubtful ones
			copy(b[i:], []byte{0xe8, byte(i), 0, 0, byte(-r.IntN(2))})
		case 1:
			copy(b[i:], []byte{0xe9, 0xe8, 0xff, 0, 0xff, 0xe8, 0, 0, 0, 0})
		case 2:
			be.PutUint32(b[i:], 0x48000001|uint32(i)<<2)
		case 3:
			le.PutUint32(b[i:], 0xeb000000|uint32(r.IntN(1<<24)))
		case 4:
			le.PutUint16(b[i:], 0xf000|uint16(r.IntN(1<<11)))
			le.PutUint16(b[i+2:], 0xf800|uint16(r.IntN(1<<11)))
		case 5:
			be.PutUint32(b[i:], 0x40000000|uint32(r.IntN(1<<22)))
		case 6:
			be.PutUint32(b[i:], 0x7fc00000|uint32(r.IntN(1<<22)))
		case 7:
			le.PutUint32(b[i:], 0x94000000|uint32(r.IntN(1<<26)))
		case 8:
			le.PutUint32(b[i:], 0x90000000|uint32(r.IntN(1<<24)))
		}
	}
	for i := 0; i+32 <= n; i += 48 { // IA-64 bundles with branches in every slot
		b[i] = b[i]&^0x1f | byte(0x10+r.IntN(16))
		for slot := range uint(3) {
			bit := 5 + 41*slot + 37
			v := le.Uint16(b[i+int(bit/8):])
			v = v&^(0xf<<(bit%8)) | 5<<(bit%8)
			le.PutUint16(b[i+int(bit/8):], v)
			bit -= 28
			v = le.Uint16(b[i+int(bit/8):])
			le.PutUint16(b[i+int(bit/8):], v&^(7<<(bit%8)))
		}
	}
	return b
}

func TestBranchFiltersUndoWhatXZDid(t *testing.T) {
	xz := need.Tool(t, "xz", "xz-utils")
	code := machineCode(100_000)
	for id, filter := range map[byte]string{0: "", branchX86: "--x86", branchPowerPC: "--powerpc", branchIA64: "--ia64", branchARM: "--arm",
		branchThumb: "--armthumb", branchSPARC: "--sparc", branchARM64: "--arm64"} {
		args := []string{"--stdout", "--check=crc32"}
		if filter != "" {
			args = append(args, filter)
			changed := bytes.Clone(code)
			if err := branchDecode(id, changed); err != nil || bytes.Equal(changed, code) {
				t.Fatalf("branchDecode(%d) = %v and leaves the code as it is: there is nothing to test", id, err)
			}
		}
		cmd := exec.Command(xz, append(args, "--lzma2=dict=128KiB")...)
		cmd.Stdin = bytes.NewReader(code)
		packed, err := cmd.Output()
		if err != nil {
			t.Logf("xz %s: %v: not in this version", filter, err)
			continue
		}
		plain := make([]byte, len(code))
		if n, err := (xzDecoder{}).decode(plain, packed); err != nil || !bytes.Equal(plain[:n], code) {
			t.Errorf("decode of xz %s = %d bytes, %v; want the %d that went in", filter, n, err, len(code))
		}
	}
}
