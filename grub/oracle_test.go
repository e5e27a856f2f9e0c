package grub

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slotboot/slotboot/internal/need"
	"github.com/slotboot/slotboot/qemu-tests/vm"
)

// The tests in oracle_*_test.go ask real GRUB for its opinion: they load the generated functions into GRUB under QEMU,
// with nothing else on the machine, and compare what it decides, and every byte it leaves on the disk, with package
// slots. GRUB starts in a second and decides some hundred states in the next.

// bootMark ends the functions of a generated script: what stands behind it boots.
const bootMark = "\n# ---- Boot\n"

// functions returns the generated script without its end, which boots.
func functions(t *testing.T, opts Options) string {
	t.Helper()
	script, boot, ok := strings.Cut(config(t, opts), bootMark)
	if !ok || !strings.Contains(boot, "\nslotboot_main\n") {
		t.Fatalf("the script does not end in %q and the call of slotboot_main", bootMark)
	}
	return script
}

// envSize is the size of the environment blocks in these tests, as GRUB's tools make them.
const envSize = 1024

// judge runs script in GRUB for PCs, with blocks as files on a disk, and returns the lines that the script printed with
// "row " in front, and the blocks afterwards. In script, envFile(i) is the file of block i.
//
// The disk is GRUB's memory disk, and the test reads the machine's memory to see what became of it. With a disk of QEMU
// the machine spins while two threads of QEMU work for each sector, which takes minutes on a busy machine.
func judge(t *testing.T, script string, blocks [][]byte) (rows []string, after [][]byte) {
	t.Helper()
	dir := t.TempDir()
	// GRUB keeps the image that it came with beside the disk it made of it: writing the last block marks the disk.
	mark := pad([]byte("# GRUB Environment Block\nmark=no\n"), envSize, '#')
	before := blockDisk(t, append(slices.Clone(blocks), mark))
	memdisk, scripts := filepath.Join(dir, "blocks.img"), filepath.Join(dir, "script.img")
	write(t, memdisk, before.image)
	script = oraclePrologue + script + "\nset mark=ok\nsave_env --file \"" + envFile(len(blocks)) + "\" mark\necho \"row end\"\nsleep 100000\n"
	content := pad([]byte(script), 512, '\n')
	write(t, scripts, content)

	m := vm.Start(t, vm.Config{
		Firmware: vm.Kernel, MemoryMB: 128,
		Kernel: grubKernel(t, fmt.Sprintf("normal (hd0)0+%d\n", len(content)/512), "-m", memdisk, "memdisk"),
		Disks:  []vm.Disk{{Path: scripts, Snapshot: true}},
		Limit:  20 * time.Minute,
	})
	m.WaitLine(`row end$`)
	image := writtenImage(t, m.Memory(), before.image, before.offset(len(blocks)))
	m.PowerCut()
	for _, line := range m.Lines() {
		if _, row, ok := strings.Cut(line.Text, "row "); ok && row != "end" {
			rows = append(rows, row)
		}
	}
	for i := range blocks {
		after = append(after, bytes.Clone(image[before.offset(i):][:envSize]))
		copy(image[before.offset(i):], blocks[i])
	}
	copy(image[before.offset(len(blocks)):], mark)
	if !bytes.Equal(image, before.image) {
		t.Error("GRUB wrote elsewhere than into the blocks")
	}
	return rows, after
}

// writtenImage finds the copy of image in memory whose block at offset mark says mark=ok.
func writtenImage(t *testing.T, memory, image []byte, mark int) []byte {
	t.Helper()
	for at := 0; ; at++ {
		i := bytes.Index(memory[at:], image[:512])
		if i < 0 {
			t.Fatal("GRUB's memory disk is not in the machine's memory")
		}
		if at += i; at+len(image) <= len(memory) && bytes.Contains(memory[at+mark:][:envSize], []byte("\nmark=ok\n")) {
			return memory[at:][:len(image)]
		}
	}
}

// A blockFS is a FAT16 image with a file for each block: one cluster of 1 KiB a file, one cluster a folder. GRUB saves
// only into a file of a real file system, and so the test knows where the bytes are without a tool. The folders are
// small and two levels deep, because GRUB looks for a name from the beginning of a folder each time.
type blockFS struct {
	image []byte
	data  int // offset of cluster 2, which is block 0
}

const perFolder = envSize/32 - 2 // what fits a cluster beside . and ..

// envFile is GRUB's name of block i.
func envFile(i int) string {
	return fmt.Sprintf("(memdisk)/D%d/F%d/E%d", i/perFolder/perFolder, i/perFolder, i)
}

func (b blockFS) offset(i int) int { return b.data + i*envSize }

// entry writes a folder's entry at an offset.
func (b blockFS) entry(at int, name string, attribute byte, cluster, size int) {
	copy(b.image[at:], fmt.Sprintf("%-11s", name))
	b.image[at+11] = attribute
	binary.LittleEndian.PutUint16(b.image[at+26:], uint16(cluster))
	binary.LittleEndian.PutUint32(b.image[at+28:], uint32(size))
}

// folder makes block i of the image a folder with an entry at the offset at. It is in the folder at block parent, or in
// the root (-2).
func (b blockFS) folder(at int, name string, i, parent int) {
	b.entry(at, name, 0x10, 2+i, 0)
	b.entry(b.offset(i), ".", 0x10, 2+i, 0)
	b.entry(b.offset(i)+32, "..", 0x10, 2+parent, 0)
}

func blockDisk(t *testing.T, blocks [][]byte) blockFS {
	t.Helper()
	le := binary.LittleEndian
	rounded := func(n int) int { return (n + perFolder - 1) / perFolder }
	folders := rounded(len(blocks))
	tops := rounded(folders)
	clusters := max(len(blocks)+folders+tops, 4200) // fewer would be FAT12
	tableSectors := ((clusters+2)*2 + 511) / 512
	const rootSectors = 512 * 32 / 512
	if tops > 512 || clusters > 60000 {
		t.Fatalf("%d blocks do not fit the test disk", len(blocks))
	}
	fs := blockFS{data: (1 + 2*tableSectors + rootSectors) * 512}
	fs.image = make([]byte, fs.data+clusters*envSize)
	copy(fs.image, "\xeb\x3c\x90slotboot")
	le.PutUint16(fs.image[11:], 512)
	fs.image[13], fs.image[14], fs.image[16], fs.image[21] = 2, 1, 2, 0xf8
	le.PutUint16(fs.image[17:], 512)
	le.PutUint16(fs.image[22:], uint16(tableSectors))
	le.PutUint32(fs.image[32:], uint32(len(fs.image)/512))
	copy(fs.image[38:], "\x29\x01\x02\x03\x04BLOCKS     FAT16   ")
	fs.image[510], fs.image[511] = 0x55, 0xaa
	for table := range 2 {
		for i := range 2 + len(blocks) + folders + tops { // every file and folder is one cluster: the last of its chain
			le.PutUint16(fs.image[(1+table*tableSectors)*512+2*i:], 0xffff)
		}
	}
	for table := range 2 { // and the first entry says again what medium it is
		fs.image[(1+table*tableSectors)*512] = 0xf8
	}
	// The blocks come first, then the folders F, then the folders D. in is where a folder has its i-th entry.
	in := func(folder, i int) int { return fs.offset(folder) + (2+i%perFolder)*32 }
	for d := range tops {
		fs.folder(fs.data-rootSectors*512+d*32, fmt.Sprintf("D%d", d), len(blocks)+folders+d, -2)
	}
	for f := range folders {
		d := len(blocks) + folders + f/perFolder
		fs.folder(in(d, f), fmt.Sprintf("F%d", f), len(blocks)+f, d)
	}
	for i, b := range blocks {
		if len(b) != envSize {
			t.Fatalf("block %d has %d bytes", i, len(b))
		}
		copy(fs.image[fs.offset(i):], b)
		fs.entry(in(len(blocks)+i/perFolder, i), fmt.Sprintf("E%d", i), 0x20, 2+i, envSize)
	}
	return fs
}

// oraclePrologue stands before the generated script. Nothing but the serial port, or the screen costs half the time.
const oraclePrologue = "serial --unit=0 --speed=115200\nterminal_output serial\n"

// grubKernel returns a file that QEMU loads like a Linux kernel and that is GRUB with the modules of the generated
// script. It runs the commands in early; if there are none, grub.cfg in the boot partition of the first disk.
// More arguments for grub-mkimage may follow.
func grubKernel(t *testing.T, early string, more ...string) string {
	t.Helper()
	notShort(t)
	mkimage := need.Tool(t, "grub-mkimage", "grub-common")
	loader := need.File(t, "/usr/lib/grub/i386-pc/lnxboot.img", "grub-pc-bin")
	dir := t.TempDir()
	earlyFile, core, kernel := filepath.Join(dir, "early.cfg"), filepath.Join(dir, "core.img"), filepath.Join(dir, "kernel")
	args := append([]string{"-O", "i386-pc", "-p", "(hd0,gpt1)/EFI/BOOT", "-o", core}, Modules("i386-pc")...)
	if early != "" {
		write(t, earlyFile, []byte(early))
		args = append(args, "-c", earlyFile)
	}
	args = append(args, more...)
	if out, err := exec.Command(mkimage, args...).CombinedOutput(); err != nil {
		t.Fatalf("grub-mkimage: %v\n%s", err, out)
	}
	var image []byte
	for _, path := range []string{loader, core} {
		part, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		image = append(image, part...)
	}
	write(t, kernel, image)
	return kernel
}

// notShort skips the test before it prepares anything.
func notShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs QEMU")
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// pad returns data filled up to a multiple of size with fill.
func pad(data []byte, size int, fill byte) []byte {
	for len(data)%size != 0 {
		data = append(data, fill)
	}
	return data
}

// TestTheOracleSeesWhatGRUBDoes makes sure that the other tests would notice: GRUB reads, changes and refuses blocks
// here as it does on a device.
func TestTheOracleSeesWhatGRUBDoes(t *testing.T) {
	t.Parallel()
	good := pad([]byte("# GRUB Environment Block\nBOOT_COUNT=7\n"), envSize, '#')
	full := pad([]byte("# GRUB Environment Block\nBOOT_COUNT=7\n"), envSize, 0)
	rows, after := judge(t, `
load_env --skip-sig --file "`+envFile(0)+`" BOOT_COUNT
echo "row count $BOOT_COUNT"
set BOOT_COUNT=10
if save_env --file "`+envFile(0)+`" BOOT_COUNT; then echo "row saved"; fi
if save_env --file "`+envFile(1)+`" BOOT_COUNT; then echo "row saved"; else echo "row not saved"; fi
if load_env --skip-sig --file "`+envFile(2)+`" BOOT_COUNT; then echo "row loaded"; else echo "row not loaded"; fi
`, [][]byte{good, full, make([]byte, envSize)})
	if want := []string{"count 7", "saved", "not saved", "not loaded"}; !slices.Equal(rows, want) {
		t.Errorf("GRUB says %q, want %q", rows, want)
	}
	if want := pad([]byte("# GRUB Environment Block\nBOOT_COUNT=10\n"), envSize, '#'); !bytes.Equal(after[0], want) {
		t.Errorf("the block is %q, want BOOT_COUNT=10", after[0])
	}
	if !bytes.Equal(after[1], full) || !bytes.Equal(after[2], make([]byte, envSize)) {
		t.Error("GRUB changed a block that it could not save")
	}
}
