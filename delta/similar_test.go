package delta

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
)

func TestAFileThatMovedAndChangedCostsLittle(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 11))
	body := make([]byte, 300000)
	for i := range body {
		body[i] = byte(r.Uint32())
	}
	before := tree{"lib": body, "other": randomBody(r, 50000)}
	changed := append(bytes.Clone(body[40000:]), body[:1000]...)
	for i := 7; i < len(changed); i += 5000 {
		changed[i]++
	}
	after := tree{"elsewhere": changed, "other": before["other"]}
	old, next := before.image(t, fuzzImage), after.image(t, fuzzImage)
	d, _ := mustMake(t, old, next)
	if len(d) > 12000 {
		t.Errorf("a delta of %d bytes for a file of noise that moved, want a few for its %d changes", len(d), len(changed)/5000)
	}
	var got bytes.Buffer
	if _, err := Apply(&got, bytes.NewReader(old), bytes.NewReader(d), ApplyOptions{}); err != nil || !bytes.Equal(got.Bytes(), next) {
		t.Errorf("Apply: %v", err)
	}
	if _, err := Apply(io.Discard, bytes.NewReader(next), bytes.NewReader(d), ApplyOptions{}); err == nil {
		t.Error("the delta applies to the new image as well")
	}
}
