package squash

import (
	"hash/crc32"
	"strings"
	"testing"
)

// FuzzDecode gives decoders what they are to decode, directly: in an image most mutations never come so far. The
// checksums of xz headers are put right first.
func FuzzDecode(f *testing.F) {
	plain := []byte(strings.Repeat("slot boot count limit ", 40))
	for _, c := range []Compression{Gzip, XZ, LZ4, Zstd} {
		id, err := CodecID(c, 0)
		if err != nil {
			f.Fatal(err)
		}
		codec, err := NewCodec(id, 4096)
		if err != nil {
			f.Fatal(err)
		}
		packed, err := codec.Compress(nil, plain)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(c), packed)
	}
	f.Add(byte(LZO), []byte("\x1aslot boot\x20\x05\x20\x00\x44\x01xyzab\x11\x00\x00"))
	f.Add(byte(LZMA), []byte("\x5d\x00\x20\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x00\x34\x1b\xee\x7f\xff\xff\xe0\x00\x00"))
	decoders := map[Compression]decoder{}
	for c := Gzip; c <= Zstd; c++ {
		d, err := newDecoder(c, 4096)
		if err != nil {
			f.Fatal(err)
		}
		decoders[c] = d
	}
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		c := Compression((kind+5)%6) + 1
		if c == XZ && len(b) > xzHeaderSize && len(b) >= xzHeaderSize+(int(b[xzHeaderSize])+1)*4 {
			copy(b, "\xfd7zXZ\x00\x00")
			putLE32(b[8:], crc32.ChecksumIEEE(b[6:8]))
			size := (int(b[xzHeaderSize]) + 1) * 4
			header := b[xzHeaderSize : xzHeaderSize+size]
			putLE32(header[size-4:], crc32.ChecksumIEEE(header[:size-4]))
		}
		dst := make([]byte, 4096, 8192)
		n, err := decoders[c].decode(dst, b)
		if n < 0 || n > len(dst) && err == nil {
			t.Fatalf("decode of %v = %d bytes into %d, %v", c, n, len(dst), err)
		}
	})
}
