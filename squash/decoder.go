package squash

import "fmt"

// Decoder decompresses single blocks, for those who handle the blocks of an image themselves. Any number of goroutines
// may use one.
type Decoder struct{ d decoder }

// NewDecoder returns a decoder of blocks of up to blockSize plain bytes. It knows every compressor that Open knows.
func NewDecoder(c Compression, blockSize int) (*Decoder, error) {
	if blockSize < MinBlockSize || blockSize > MaxBlockSize {
		return nil, fmt.Errorf("decode blocks of %d bytes: want %d to %d", blockSize, MinBlockSize, MaxBlockSize)
	}
	d, err := newDecoder(c, blockSize)
	if err != nil {
		return nil, err
	}
	return &Decoder{d}, nil
}

// Decode writes the plain bytes of src to dst and returns how many there are. A block that holds more than dst has room
// for is an error.
func (d *Decoder) Decode(dst, src []byte) (int, error) {
	return d.d.decode(dst[:len(dst):len(dst)], src)
}
