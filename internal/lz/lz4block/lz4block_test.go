package lz4block

import (
	"bytes"
	"testing"

	"github.com/pierrec/lz4/v4"
)

func TestSequencesOfAllLengthsAreReadAsTheyWereWritten(t *testing.T) {
	plain := bytes.Repeat([]byte("0123456789"), 200)
	for lits := 1; lits < 600; lits += 7 {
		for length := MinMatch; length < 600; length += 9 {
			// A match of distance 1 repeats the last literal.
			block := AppendMatch(nil, plain[:lits], 1, length)
			if got, want := len(block), 3+lits+int(Extra(uint32(lits))+Extra(uint32(length-MinMatch))); got != want {
				t.Fatalf("AppendMatch of %d literals and %d bytes = %d bytes, want %d", lits, length, got, want)
			}
			block = AppendLast(block, plain[:20])
			want := append(bytes.Clone(plain[:lits]), bytes.Repeat(plain[lits-1:lits], length)...)
			want = append(want, plain[:20]...)
			got := make([]byte, len(want)+1)
			if n, err := lz4.UncompressBlock(block, got); err != nil || !bytes.Equal(got[:n], want) {
				t.Fatalf("%d literals and a match of %d: decoded %d bytes, %v, want %d", lits, length, n, err, len(want))
			}
		}
	}
}
