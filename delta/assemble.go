package delta

import (
	"fmt"
	"sync"

	"github.com/slotboot/slotboot/delta/gzipenc"
)

// assembler turns what the ops of a window make into its plain bytes: it compresses the members in it again.
type assembler struct {
	sizes    keeper
	kept     [][]byte // members, one for each of sizes
	encoders chan *gzipenc.Encoder
}

func newAssembler(workers int) *assembler {
	a := &assembler{encoders: make(chan *gzipenc.Encoder, workers)}
	for range workers {
		a.encoders <- nil
	}
	return a
}

// assemble fills window from made.
func (a *assembler) assemble(window, made []byte, placements []placement) error {
	members := make([][]byte, len(placements))
	a.compress(members, made, placements)
	for i, p := range placements {
		n := copy(window[:p.gap], made)
		window, made = window[n:], made[n:]
		member := members[i]
		switch {
		case p.plain == 0:
			member = a.kept[len(a.kept)-1-p.back]
		case len(member) != p.stored:
			return fmt.Errorf("%w: encoder %s makes %d bytes of a member, want %d", ErrUnsupported, gzipEncoder, len(member), p.stored)
		case p.pieces:
			a.sizes.keep(p.stored)
			a.kept = append(a.kept, member)
			a.kept = a.kept[len(a.kept)-len(a.sizes.sizes):]
		}
		copy(window, member[p.off:p.off+p.n])
		window, made = window[p.n:], made[p.plain:]
	}
	copy(window, made)
	return nil
}

// compress makes the members of a window, several at a time.
func (a *assembler) compress(members [][]byte, made []byte, placements []placement) {
	var all sync.WaitGroup
	for i, p := range placements {
		made = made[p.gap:]
		text := made[:p.plain]
		made = made[p.plain:]
		if p.plain == 0 {
			continue
		}
		e := <-a.encoders
		if e == nil {
			e = new(gzipenc.Encoder)
		}
		all.Go(func() {
			members[i] = appendMember(make([]byte, 0, min(p.stored, len(text)+64)), e, text, p.header)
			a.encoders <- e
		})
	}
	all.Wait()
}
