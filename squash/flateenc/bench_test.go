package flateenc

import (
	"bytes"
	"testing"

	"github.com/klauspost/compress/zlib"
	"github.com/slotboot/slotboot/internal/lz/lztest"
)

func BenchmarkOurs(b *testing.B) { lztest.Bench(b, 128<<10, 8, New().Encode) }

func BenchmarkKlauspost9(b *testing.B) {
	var buf bytes.Buffer
	w, err := zlib.NewWriterLevel(&buf, 9)
	if err != nil {
		b.Fatal(err)
	}
	lztest.Bench(b, 128<<10, 8, func(_, src []byte) []byte {
		buf.Reset()
		w.Reset(&buf)
		if _, err := w.Write(src); err != nil || w.Close() != nil {
			b.Fatal(err)
		}
		return buf.Bytes()
	})
}
