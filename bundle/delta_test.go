package bundle

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/slotboot/slotboot/delta"
	"github.com/slotboot/slotboot/internal/verity"
)

// rooted returns 100 blocks of noise, shifted by a few bytes that depend on seed, and their tree, as a payload.
func rooted(t *testing.T, seed byte) ([]byte, Payload) {
	t.Helper()
	data := make([]byte, 100*verity.BlockSize)
	rand.NewChaCha8([32]byte{}).Read(data)
	copy(data[seed:], bytes.Clone(data))
	var h verity.Hasher
	h.Write(data)
	b := bytes.NewBuffer(data)
	root, err := h.Finish(b)
	if err != nil {
		t.Fatal(err)
	}
	p := Payload{Name: RootfsName, Size: int64(b.Len()), SHA256: fmt.Sprintf("%x", sha256.Sum256(b.Bytes())), Verity: &Verity{root.Hash, root.DataBlocks}}
	return b.Bytes(), p
}

func makeDelta(t *testing.T, old, target []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := delta.Make(&b, bytes.NewReader(old), bytes.NewReader(target), int64(len(old)), int64(len(target)), delta.MakeOptions{}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func section(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

func TestDeltaLeavesTheHashTreeToTheDevice(t *testing.T) {
	old, _ := rooted(t, 0)
	next, p := rooted(t, 5)
	target, err := p.DeltaTarget(section(next))
	if err != nil || target.Size() != 100*verity.BlockSize {
		t.Fatalf("DeltaTarget() = %d bytes, %v, want the data alone", target.Size(), err)
	}
	data, _ := io.ReadAll(target)
	d := makeDelta(t, old, data)
	if whole := makeDelta(t, old, next); len(d)+2000 > len(whole) {
		t.Errorf("the delta has %d bytes, with the tree in it %d: want it smaller by most of a tree of 8192", len(d), len(whole))
	}
	for name, from := range map[string][]byte{"of the data": d, "of the whole file": makeDelta(t, old, next)} {
		var got bytes.Buffer
		if err := p.ApplyDelta(&got, bytes.NewReader(old), bytes.NewReader(from), delta.ApplyOptions{}); err != nil || !bytes.Equal(got.Bytes(), next) {
			t.Errorf("ApplyDelta(delta %s) = %v and %d bytes, want the installed file", name, err, got.Len())
		}
	}
}

func TestDeltaThatMakesOtherDataIsDamaged(t *testing.T) {
	old, _ := rooted(t, 0)
	next, p := rooted(t, 5)
	bad := bytes.Clone(next[:100*verity.BlockSize])
	bad[77] ^= 1
	for name, target := range map[string][]byte{"a flipped bit": bad, "a block less": bad[:99*verity.BlockSize], "bad data and the good tree": append(bad, next[len(bad):]...), "nothing": nil} {
		err := p.ApplyDelta(io.Discard, bytes.NewReader(old), bytes.NewReader(makeDelta(t, old, target)), delta.ApplyOptions{})
		if !errors.Is(err, delta.ErrDamaged) {
			t.Errorf("ApplyDelta(a delta that makes %s) = %v, want ErrDamaged", name, err)
		}
	}
}

func TestHashTreeOfAnotherToolTravelsInTheDelta(t *testing.T) {
	next, p := rooted(t, 5)
	next[100*verity.BlockSize+16] ^= 1 // its UUID
	if target, err := p.DeltaTarget(section(next)); err != nil || target.Size() != p.Size {
		t.Errorf("DeltaTarget(a file with another UUID) = %d bytes, %v, want all %d", target.Size(), err, p.Size)
	}
	p.Verity = nil
	if target, err := p.DeltaTarget(section(next)); err != nil || target.Size() != p.Size {
		t.Errorf("DeltaTarget(a file without a tree) = %d bytes, %v, want all %d", target.Size(), err, p.Size)
	}
}

func TestHashTreeThatDoesNotFitIsNoticedWhenThePayloadIsRead(t *testing.T) {
	good, p := rooted(t, 0)
	read := func(data []byte, p Payload) error {
		p.SHA256 = fmt.Sprintf("%x", sha256.Sum256(data)) // of what is there: the digest is right
		for _, step := range []int{1 << 20, 5000, 4096, 1} {
			if step == 1 && testing.Short() {
				continue
			}
			e := Entry{Payload: p, from: bytes.NewReader(data), left: p.Size, hash: sha256.New(), tree: newTreeCheck(p.Verity)}
			if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{&e}, make([]byte, step)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := read(good, p); err != nil {
		t.Errorf("Read() of a good tree = %v", err)
	}
	otherUUID := bytes.Clone(good)
	otherUUID[100*verity.BlockSize+16] ^= 1
	if err := read(otherUUID, p); err != nil {
		t.Errorf("Read() of a tree with another UUID = %v", err)
	}
	wrong := p
	wrong.Verity = &Verity{RootHash: fmt.Sprintf("%064d", 0), DataBlocks: 100}
	if err := read(good, wrong); !errors.Is(err, ErrInvalid) {
		t.Errorf("Read() with another root hash in the manifest = %v, want ErrInvalid", err)
	}
	for _, at := range []int{0, 99*verity.BlockSize + 4095, 101 * verity.BlockSize, len(good) - 1} {
		bad := bytes.Clone(good)
		bad[at] ^= 1
		if err := read(bad, p); !errors.Is(err, ErrInvalid) {
			t.Errorf("Read() with byte %d of %d changed = %v, want ErrInvalid", at, len(good), err)
		}
	}
}
