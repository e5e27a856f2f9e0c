package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/fstest"
)

func artifactOf(t testing.TB, set fstest.MapFS) (*Artifact, []byte) {
	t.Helper()
	s, err := ReadFolder(set)
	if err != nil {
		t.Fatal(err)
	}
	a := NewArtifact(s)
	raw, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return a, raw
}

// TestTheArtifactOfASlotSetStaysWhatItIs: its digest is how people pin a slot set.
func TestTheArtifactOfASlotSetStaysWhatItIs(t *testing.T) {
	set := slotSet(t, nil)
	set[SignatureName] = &fstest.MapFile{Data: []byte("signature\n")}
	a, raw := artifactOf(t, set)
	if _, again := artifactOf(t, set); !bytes.Equal(raw, again) {
		t.Errorf("one slot set makes\n%s\nand\n%s", raw, again)
	}
	const want = "sha256:a14a283bd7a7cdab37fa815ae9f28d358381db58bf0b5802fb3ceec7a679f968"
	if got := Digest(raw); got != want {
		t.Errorf("the artifact is %s, want %s:\n%s", got, want, raw)
	}
	back, err := ParseArtifact(raw)
	if err != nil {
		t.Fatal(err)
	}
	if d := back.Manifest(); d.Check(set[ManifestName].Data) != nil || d.Title() != ManifestName {
		t.Errorf("manifest: %+v", d)
	}
	if d, ok := back.Signature(); !ok || d.Check(set[SignatureName].Data) != nil {
		t.Errorf("signature: %+v, %v", d, ok)
	}
	if err := back.Manifest().Check([]byte("{}")); !errors.Is(err, ErrInvalid) {
		t.Errorf("Check of other bytes: %v", err)
	}
	if names := len(a.Layers); names != 6 {
		t.Errorf("%d layers, want 6", names)
	}
}

func TestAnArtifactThatIsNoneIsRefused(t *testing.T) {
	_, good := artifactOf(t, slotSet(t, nil))
	for name, row := range map[string]struct{ old, new, want string }{
		"container image":  {ArtifactType, "application/vnd.oci.image", ""}, // its first layer still says what it is
		"no layer of ours": {MediaTypeManifest, "application/x", "0 blobs of type"},
		"huge manifest":    {`"size":864`, `"size":99999999999`, "want at most"},
		"not JSON":         {"{", "", "artifact: "},
		"negative size":    {MediaTypeManifest + `","digest":"sha256:`, MediaTypeManifest + `","size":-1,"digest":"sha512:`, "artifact: "},
	} {
		a, err := ParseArtifact([]byte(strings.Replace(string(good), row.old, row.new, 1)))
		if row.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if a != nil || !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, %v, want %q", name, a, err, row.want)
		}
	}
	if _, err := ParseArtifact(make([]byte, MaxArtifact+1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("artifact of a megabyte: %v", err)
	}
}

func FuzzArtifact(f *testing.F) {
	_, raw := artifactOf(f, slotSet(f, nil))
	f.Add(raw)
	f.Add([]byte(`{"artifactType":"` + ArtifactType + `","layers":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := ParseArtifact(data)
		if err != nil {
			if a != nil || !errors.Is(err, ErrInvalid) {
				t.Fatalf("ParseArtifact = %v, %v", a, err)
			}
			return
		}
		d := a.Manifest()
		if d.Size < 0 || d.Size > MaxManifest || !isDigest(strings.TrimPrefix(d.Digest, "sha256:")) {
			t.Fatalf("an accepted artifact has the manifest %+v", d)
		}
		if d, ok := a.Signature(); ok && (d.Size < 0 || d.Size > MaxSignature) {
			t.Fatalf("an accepted artifact has the signature %+v", d)
		}
		if _, err := json.Marshal(a); err != nil {
			t.Fatal(err)
		}
	})
}

// TestWhatIsThereAlreadyIsCheckedLikeWhatComes gives the first bytes of a payload from elsewhere, at each length.
func TestWhatIsThereAlreadyIsCheckedLikeWhatComes(t *testing.T) {
	set := slotSet(t, nil)
	archive := written(t, set)
	root := set[RootfsName].Data
	for n := 0; n <= len(root); n += 1000 {
		for _, spoiled := range []bool{false, true} {
			for _, skips := range []bool{false, true} {
				var in io.Reader = bytes.NewReader(archive)
				if skips {
					in = &skipping{bytes.NewReader(archive), 0}
				}
				s, err := NewReader(in)
				if err != nil {
					t.Fatal(err)
				}
				var e *Entry
				for range s.Manifest.Payloads {
					if e, err = s.Next(); err != nil {
						t.Fatal(err)
					}
				}
				have := bytes.Clone(root[:n])
				if spoiled = spoiled && n > 0; spoiled {
					have[n/2] ^= 1
				}
				if err := e.Have(bytes.NewReader(have), int64(n)); err != nil {
					t.Fatalf("Have of %d bytes: %v", n, err)
				}
				rest, err := io.ReadAll(e)
				if !bytes.Equal(rest, root[n:]) || (err != nil) != spoiled || spoiled && !errors.Is(err, ErrInvalid) {
					t.Errorf("%d bytes there, spoiled %v: %d come, %v, want %d", n, spoiled, len(rest), err, len(root)-n)
				}
				if skipped := int64(0); skips && !spoiled {
					if _, err := s.Next(); err != io.EOF {
						t.Errorf("behind the payload: %v, want the end", err)
					}
					if skipped = in.(*skipping).n; skipped != int64(n) {
						t.Errorf("%d bytes there, %d passed over", n, skipped)
					}
				}
			}
		}
	}
	s, err := NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	e, err := s.Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Have(strings.NewReader(strings.Repeat("x", 99)), 99); err == nil {
		t.Error("Have of more than the payload has: no error")
	}
	if err := e.Have(strings.NewReader("x"), 2); err == nil {
		t.Error("Have of more than is there: no error")
	}
}

// A source that ends while it passes over bytes must not look as if the payload had ended, and been right.
func TestASourceThatEndsUnderWhatIsThereAlreadyIsCutShort(t *testing.T) {
	set := slotSet(t, nil)
	archive := written(t, set)
	root := set[RootfsName].Data
	at := bytes.Index(archive, root)
	s, err := NewReader(&ending{bytes.NewReader(archive[:at+10])})
	if err != nil {
		t.Fatal(err)
	}
	var e *Entry
	for range s.Manifest.Payloads {
		if e, err = s.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Have(bytes.NewReader(root[:20]), 20); !errors.Is(err, ErrInvalid) || errors.Is(err, io.EOF) {
		t.Errorf("Have = %v, want that it is cut short", err)
	}
	if _, err := io.ReadAll(e); !errors.Is(err, ErrInvalid) {
		t.Errorf("what is read then: %v, want that it is cut short", err)
	}
}

// ending is a source that passes over bytes by reading them, as a short stretch of a download.
type ending struct{ *bytes.Reader }

func (e *ending) Skip(n int64) error {
	_, err := io.CopyN(io.Discard, e, n)
	return err
}

// skipping is a source that can pass over bytes.
type skipping struct {
	*bytes.Reader
	n int64
}

func (s *skipping) Skip(n int64) error {
	s.n += n
	_, err := s.Seek(n, io.SeekCurrent)
	return err
}
