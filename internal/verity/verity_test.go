package verity

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	dmverity "github.com/containerd/go-dmverity/pkg/verity"

	"github.com/slotboot/slotboot/internal/need"
)

// The numbers of blocks at which the tree gets another block or another level.
var counts = []int64{1, 2, 127, 128, 129, 255, 256, 257, 16384, 16385}

func noise(blocks int64) []byte {
	data := make([]byte, blocks*BlockSize)
	rand.NewChaCha8([32]byte{byte(blocks)}).Read(data)
	return data
}

// hash returns data with its tree behind it.
func hash(t *testing.T, data []byte) ([]byte, Root) {
	t.Helper()
	var h Hasher
	h.Write(data)
	var tree bytes.Buffer
	root, err := h.Finish(&tree)
	if err != nil {
		t.Fatalf("Finish() after %d bytes = %v", len(data), err)
	}
	if want := Size(root.DataBlocks); int64(tree.Len()) != want {
		t.Errorf("Finish() after %d blocks wrote %d bytes, Size says %d", root.DataBlocks, tree.Len(), want)
	}
	return append(bytes.Clone(data), tree.Bytes()...), root
}

func TestTreeIsByteForByteThatOfVeritysetup(t *testing.T) {
	tool := need.Tool(t, "veritysetup", "cryptsetup-bin")
	hashLine := regexp.MustCompile(`Root hash:\s+([0-9a-f]{64})`)
	for _, n := range counts {
		data := noise(n)
		got, root := hash(t, data)
		file := filepath.Join(t.TempDir(), "root")
		offset := fmt.Sprint("--hash-offset=", len(data))
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		uuid := fmt.Sprintf("%x-%x-%x-%x-%x", got[len(data)+16:len(data)+20], got[len(data)+20:len(data)+22], got[len(data)+22:len(data)+24], got[len(data)+24:len(data)+26], got[len(data)+26:len(data)+32])
		out, err := exec.Command(tool, "format", "--salt=-", "--uuid="+uuid, fmt.Sprint("--data-blocks=", n), offset, file, file).CombinedOutput()
		if err != nil {
			t.Fatalf("veritysetup format: %v: %s", err, out)
		}
		if m := hashLine.FindSubmatch(out); m == nil || string(m[1]) != root.Hash {
			t.Errorf("%d blocks: root hash %s, veritysetup says %s", n, root.Hash, out)
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%d blocks: the tree is not veritysetup's: %d and %d bytes", n, len(got), len(want))
		}
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(tool, "verify", offset, file, file, root.Hash).CombinedOutput(); err != nil {
			t.Errorf("%d blocks: veritysetup verify: %v: %s", n, err, out)
		}
	}
}

func TestTreeIsByteForByteThatOfContainerd(t *testing.T) {
	for _, n := range counts {
		data := noise(n)
		got, root := hash(t, data)
		file := filepath.Join(t.TempDir(), "root")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		params := dmverity.DefaultParams()
		params.DataBlockSize, params.HashBlockSize, params.DataBlocks, params.HashAreaOffset = BlockSize, BlockSize, uint64(n), uint64(len(data))
		copy(params.UUID[:], got[len(data)+16:])
		hash, err := dmverity.Create(&params, file, file)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, make([]byte, max(0, len(got)-len(want)))...) // of one block, it leaves the superblock short
		if fmt.Sprintf("%x", hash) != root.Hash || !bytes.Equal(got, want) {
			t.Errorf("%d blocks: root hash %s, %d bytes; go-dmverity makes %x, %d bytes", n, root.Hash, len(got), hash, len(want))
		}
	}
}

func TestTreeDoesNotDependOnHowTheDataComes(t *testing.T) {
	data := noise(300)
	want, _ := hash(t, data)
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		var h Hasher
		for rest := data; len(rest) > 0; {
			n := min(len(rest), r.IntN(3*BlockSize))
			h.Write(rest[:n])
			rest = rest[n:]
		}
		got := bytes.NewBuffer(bytes.Clone(data))
		if _, err := h.Finish(got); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Fatalf("Finish() after writes of other sizes: another tree, %v", err)
		}
	}
}

func TestDataMustBeWholeBlocks(t *testing.T) {
	for _, n := range []int{0, 1, 4095, 4097} {
		var h Hasher
		h.Write(make([]byte, n))
		if root, err := h.Finish(&bytes.Buffer{}); err == nil {
			t.Errorf("Finish() after %d bytes = %v, want an error", n, root)
		}
	}
}
