package delta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/slotboot/slotboot/squash"
)

// changelog is a text of about size bytes as changelogs are; number says how many entries it has had.
func changelog(r *rand.Rand, number, size int) []byte {
	var b strings.Builder
	for b.Len() < size {
		number--
		fmt.Fprintf(&b, "app (1.%d) stable; urgency=medium\n\n  * %x\n\n", number, randomBody(r, 20+r.IntN(200)))
	}
	return []byte(b.String())
}

// noted is a changelog with one entry more.
func noted(text []byte) []byte {
	return append([]byte("app (2.0) stable; urgency=high\n\n  * Fix what was broken.\n\n"), text...)
}

func mustApply(t *testing.T, old, next, d []byte) {
	t.Helper()
	var got bytes.Buffer
	if _, err := Apply(&got, bytes.NewReader(old), bytes.NewReader(d), ApplyOptions{}); err != nil || !bytes.Equal(got.Bytes(), next) {
		t.Fatalf("Apply: %v, %d bytes, want the new image", err, got.Len())
	}
}

func TestLineAtTheTopOfAGzippedChangelogCostsLittle(t *testing.T) {
	for _, size := range []int{3_000, 60_000, 700_000, 2_500_000} { // in a fragment; in several blocks and a fragment; kept for them; longer than a window
		for _, plain := range []bool{true, false} {
			r := rand.New(rand.NewPCG(uint64(size), 1))
			text := changelog(r, 900, size)
			o := squash.Options{BlockSize: 16 << 10}
			old := tree{"changelog.gz": gzipped(text, plain), "a": randomBody(r, 30000)}.image(t, o)
			next := tree{"changelog.gz": gzipped(noted(text), plain), "a": randomBody(r, 3000)}.image(t, o)
			d, rep := mustMake(t, old, next)
			mustApply(t, old, next, d)
			if len(rep.Header.Needs) != 1 || rep.Header.Needs[0] != gzipEncoder {
				t.Errorf("%d bytes: the delta needs %q, want %q", size, rep.Header.Needs, gzipEncoder)
			}
			if len(d) > 5500 {
				t.Errorf("%d bytes of changelog, one entry more: a delta of %d bytes", size, len(d))
			}
		}
	}
}

func TestGzipFilesOfOthersAndUnchangedOnesStayAsTheyAre(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	text := changelog(r, 90, 9000)
	same := gzipped(text, true)
	other := gzipped(noted(text), true)
	other[20] ^= 1 // no text of it any more
	o := squash.Options{BlockSize: 16 << 10}
	old := tree{"same.gz": same, "other.gz": same, "a": randomBody(r, 3000)}.image(t, o)
	next := tree{"same.gz": same, "other.gz": other, "a": randomBody(r, 3000)}.image(t, o)
	d, rep := mustMake(t, old, next)
	mustApply(t, old, next, d)
	if len(rep.Header.Needs) != 0 {
		t.Errorf("the delta needs %q, want nothing", rep.Header.Needs)
	}
}

func TestMembersLongerThanAWindowOfTextAreSpreadOverMore(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 1))
	before, after := tree{}, tree{}
	for i := range 4 {
		text := bytes.Repeat(changelog(r, 400, 90_000), 9)
		name := fmt.Sprintf("doc%02d.gz", i)
		before[name], after[name] = gzipped(text, true), gzipped(noted(text), true)
	}
	o := squash.Options{BlockSize: 1 << 20}
	old, next := before.image(t, o), after.image(t, o)
	d, _ := mustMake(t, old, next)
	mustApply(t, old, next, d)
}

func TestUnknownNeedIsRefusedAsUnsupported(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 1))
	old := tree{"a": randomBody(r, 3000)}.image(t, fuzzImage)
	_, rep := mustMake(t, old, old)
	h := rep.Header
	h.Needs = []string{"brotli-11/1"}
	var b bytes.Buffer
	if err := writeHeader(&b, h); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadHeader(&b); err == nil || !known(err) || !strings.Contains(err.Error(), `"brotli-11/1"`) {
		t.Errorf("ReadHeader of a delta that needs brotli-11/1 = %v, want ErrUnsupported and its name", err)
	}
}

func TestKeptMembersGoWhenThereAreTooMany(t *testing.T) {
	var k keeper
	for range 5 {
		k.keep(maxMember)
	}
	if len(k.sizes) != maxKept/maxMember || k.gone != 5-len(k.sizes) || k.held > maxKept {
		t.Errorf("after five members of %d bytes: %+v", maxMember, k)
	}
}

// A few bytes in a packed column stand for many pieces of nothing.
func TestATableOfMoreOldPiecesThanImagesHaveIsDamaged(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	before := randomTree(r, 3)
	old := before.image(t, fuzzImage)
	_, rep := mustMake(t, old, edited(r, before).image(t, fuzzImage))
	h := rep.Header
	h.Needs = []string{gzipEncoder}
	const members = 2 * maxOldPieces / maxPieces
	control := binary.AppendUvarint([]byte{0}, members) // no sources
	for range members {
		control = binary.AppendUvarint(append(control, 1<<2), maxPieces)
		control = append(control, make([]byte, 2*maxPieces)...) // no seek, no size
	}
	var cols [numColumns][]byte
	cols[colControl] = control
	_, err := Apply(io.Discard, bytes.NewReader(old), bytes.NewReader(store(h, cols)), ApplyOptions{Workers: 1})
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "pieces of old members") {
		t.Errorf("Apply = %v, want that it is damaged and has too many pieces", err)
	}
}
