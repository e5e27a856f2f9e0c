package bundle

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

// skipper is a stream that counts what is really read of it.
type skipper struct {
	*bytes.Reader
	read int
}

func (s *skipper) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	s.read += n
	return n, err
}

func (s *skipper) Skip(n int64) error {
	_, err := s.Seek(n, io.SeekCurrent)
	return err
}

func whole(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

func TestBundleIsPutTogetherFromWhatIsHereAndRangesOfTheRest(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	kernel, initrd, changed := random(50_000), random(3_000), random(70_000)
	head, foot := random(1536), random(1024)
	all := bytes.Join([][]byte{head, kernel, changed, initrd, foot}, nil)
	file := whole(all)
	at := int64(len(head))
	var payloads []*io.SectionReader
	for _, b := range [][]byte{kernel, changed, initrd} {
		payloads = append(payloads, io.NewSectionReader(bytes.NewReader(all), at, int64(len(b))))
		at += int64(len(b))
	}
	pieces, err := CutBundle(file, payloads)
	if err != nil {
		t.Fatal(err)
	}
	listed, err := ReadPieces(bytes.NewReader(EncodePieces(pieces)))
	if err != nil || len(listed) != 5 {
		t.Fatalf("ReadPieces = %d pieces, %v, want 5", len(listed), err)
	}
	a := Assemble(listed, []*io.SectionReader{whole(random(100)), whole(initrd), whole(kernel)})
	remote := &skipper{Reader: bytes.NewReader(all)}
	a.From(remote)
	got, err := io.ReadAll(a)
	if err != nil || !bytes.Equal(got, all) {
		t.Fatalf("the assembly has %d bytes, %v, want the bundle's %d", len(got), err, len(all))
	}
	if want := len(head) + len(changed) + len(foot); remote.read != want || a.There != int64(want) || a.Here != int64(len(kernel)+len(initrd)) {
		t.Errorf("%d bytes were fetched, %d here and %d there by the count, want %d fetched", remote.read, a.Here, a.There, want)
	}
	short := Assemble(listed, nil)
	short.From(&skipper{Reader: bytes.NewReader(all[:len(all)/2])})
	if _, err := io.ReadAll(short); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a bundle cut in half: %v, want an error", err)
	}
}

func TestHostileListOfPiecesIsRefused(t *testing.T) {
	good := EncodePieces([]Piece{{Size: 7}, {Size: 9}})
	for n := range good {
		if _, err := ReadPieces(bytes.NewReader(good[:n])); !errors.Is(err, ErrInvalid) {
			t.Errorf("cut at %d: %v, want ErrInvalid", n, err)
		}
		bad := bytes.Clone(good)
		bad[n] ^= 0x40
		if _, err := ReadPieces(bytes.NewReader(bad)); !errors.Is(err, ErrInvalid) {
			t.Errorf("byte %d changed: %v, want ErrInvalid", n, err)
		}
	}
}
