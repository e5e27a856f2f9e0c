package squash

import "errors"

// lzoDecoder reads LZO1X blocks, which old images and some firmware have.
//
// Format: Linux Documentation/staging/lzo.rst, "LZO stream format as understood by Linux's LZO decompressor", version 0
// streams.
type lzoDecoder struct{}

var errLZO = errors.New("lzo: instruction reaches outside of the block")

// lzoStream is where a decoder is.
type lzoStream struct {
	src, dst []byte
	in, out  int
}

func (lzoDecoder) decode(dst, src []byte) (int, error) {
	s := &lzoStream{src: src, dst: dst}
	if err := s.run(); err != nil {
		return 0, err
	}
	return s.out, nil
}

func (s *lzoStream) run() error {
	state := 0 // literals copied by the last instruction; 4 for a long run
	if len(s.src) > 0 && s.src[0] > 17 {
		n := int(s.src[0]) - 17
		s.in = 1
		if err := s.literals(n); err != nil {
			return err
		}
		state = min(n, 4)
	}
	for {
		if s.in >= len(s.src) {
			return errLZO
		}
		t := int(s.src[s.in])
		s.in++
		if t < 16 && state == 0 {
			n, err := s.length(t, 15, 3)
			if err == nil {
				err = s.literals(n)
			}
			if err != nil {
				return err
			}
			state = 4
			continue
		}
		length, distance, next, err := s.match(t, state)
		if err != nil {
			return err
		}
		if distance == 0 { // the end
			if s.in != len(s.src) {
				return errLZO
			}
			return nil
		}
		if err := s.copy(length, distance); err != nil {
			return err
		}
		if err := s.literals(next); err != nil {
			return err
		}
		state = next
	}
}

// match decodes the instruction t: a copy of length bytes from distance bytes before, then next literals. Distance 0
// is the end of the stream.
func (s *lzoStream) match(t, state int) (length, distance, next int, err error) {
	switch {
	case t >= 64:
		b, err := s.byte()
		return t>>5 + 1, b<<3 + t>>2&7 + 1, t & 3, err
	case t >= 32:
		if length, err = s.length(t&31, 31, 2); err != nil {
			return
		}
		d, err := s.word()
		return length, d>>2 + 1, d & 3, err
	case t >= 16:
		if length, err = s.length(t&7, 7, 2); err != nil {
			return
		}
		d, err := s.word()
		distance = t&8<<11 + d>>2
		if distance > 0 {
			distance += 16384
		}
		return length, distance, d & 3, err
	}
	b, err := s.byte()
	if state == 4 {
		return 3, b<<2 + t>>2 + 2049, t & 3, err
	}
	return 2, b<<2 + t>>2 + 1, t & 3, err
}

// length reads a length whose first bits are n: zero means that it goes on in the next bytes.
func (s *lzoStream) length(n, most, least int) (int, error) {
	if n != 0 {
		return n + least, nil
	}
	for {
		b, err := s.byte()
		if err != nil {
			return 0, err
		}
		if b != 0 {
			return n + most + b + least, nil
		}
		if n += 255; n > MaxBlockSize {
			return 0, errLZO
		}
	}
}

func (s *lzoStream) byte() (int, error) {
	if s.in >= len(s.src) {
		return 0, errLZO
	}
	s.in++
	return int(s.src[s.in-1]), nil
}

func (s *lzoStream) word() (int, error) {
	if s.in+2 > len(s.src) {
		return 0, errLZO
	}
	s.in += 2
	return int(s.src[s.in-2]) | int(s.src[s.in-1])<<8, nil
}

func (s *lzoStream) literals(n int) error {
	if s.in+n > len(s.src) {
		return errLZO
	}
	if s.out+n > len(s.dst) {
		return errBomb
	}
	copy(s.dst[s.out:], s.src[s.in:s.in+n])
	s.in += n
	s.out += n
	return nil
}

// copy repeats earlier output, byte by byte: source and destination may overlap.
func (s *lzoStream) copy(length, distance int) error {
	if distance > s.out {
		return errLZO
	}
	if s.out+length > len(s.dst) {
		return errBomb
	}
	for range length {
		s.dst[s.out] = s.dst[s.out-distance]
		s.out++
	}
	return nil
}
