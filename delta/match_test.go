package delta

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// replay is what an applier does with the columns of one patch.
func replay(t *testing.T, old []byte, from int, p *patcher) []byte {
	t.Helper()
	var out []byte
	diff, extra, pos := p.diff, p.extra, from
	for i, o := range p.ops {
		if o.add < 0 || o.extra < 0 || o.add > len(diff) || o.extra > len(extra) || o.add > 0 && (pos < 0 || pos+o.add > len(old)) {
			t.Fatalf("op %d %+v at old place %d: %d of difference, %d of extra, %d of old left", i, o, pos, len(diff), len(extra), len(old)-pos)
		}
		for j := range o.add {
			out = append(out, old[pos+j]+diff[j])
		}
		out = append(out, extra[:o.extra]...)
		pos += o.add + int(o.seek)
		diff, extra = diff[o.add:], extra[o.extra:]
	}
	if len(diff)+len(extra) != 0 {
		t.Fatalf("%d bytes of difference and %d of extra are left over", len(diff), len(extra))
	}
	return out
}

func TestPatchGivesBackTheTargetForAnyPair(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	text := func(n, letters int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.IntN(letters))
		}
		return b
	}
	for round := range 3000 {
		old := text(r.IntN(3000), 1+r.IntN(255))
		target := bytes.Clone(old)
		for range r.IntN(12) {
			at := r.IntN(len(target) + 1)
			end := at + r.IntN(len(target)-at+1)
			switch r.IntN(4) {
			case 0:
				target = append(target[:at:at], target[end:]...)
			case 1:
				target = append(append(target[:at:at], text(r.IntN(200), 255)...), target[at:]...)
			case 2:
				target = append(append(target[:at:at], target[at:end]...), target[at:]...)
			case 3:
				for i := at; i < end; i += 1 + r.IntN(40) {
					target[i]++
				}
			}
			if len(target) > 10000 {
				target = target[:10000]
			}
		}
		from := r.IntN(len(old) + 1)
		var p patcher
		p.run(newIndex(old), target, from)
		if got := replay(t, old, from, &p); !bytes.Equal(got, target) {
			t.Fatalf("round %d: patch of %d to %d bytes gives %d other bytes", round, len(old), len(target), len(got))
		}
	}
}

func TestPatchOfShiftedAddressesIsAlmostOnlyZeros(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	old := make([]byte, 200000)
	for i := range old {
		old[i] = byte(r.Uint32())
	}
	target := append([]byte("sixteen new byte"), old...)
	for i := 40; i+4 < len(target); i += 24 { // an address every 24 bytes, moved by 16
		target[i] += 16
	}
	var p patcher
	p.run(newIndex(old), target, 0)
	if got := replay(t, old, 0, &p); !bytes.Equal(got, target) {
		t.Fatal("patch gives other bytes")
	}
	if len(p.ops) > 10 || len(p.extra) > 200 {
		t.Errorf("patch has %d ops and %d extra bytes, want a single alignment", len(p.ops), len(p.extra))
	}
}
