package main

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/durable"
	"github.com/slotboot/slotboot/internal/screen"
	"github.com/slotboot/slotboot/internal/verity"
	"github.com/slotboot/slotboot/slots"
)

// An install that a power cut or a kill has ended is gone on with, if the same slot set is installed again. A journal in
// the slot's folder says which slot set it is, and how far each file was known to be on the disk. It is an advice: what it
// vouches for is read again, and the digest of the whole file decides, as ever.
const (
	journalName  = ".install"
	journalMax   = 1 << 20
	journalStart = "slotboot install 1 "
	// journalVersion begins the second line, for status. It is no mark: a name has no colon.
	journalVersion = "version: "
	// markEvery is how many bytes of a file are brought to the disk before the journal says so: what a cut costs at most.
	markEvery = 8 << 20
)

// castagnoli is the checksum of the journal: it tells bytes that a cut has lost, not bytes that somebody has made.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// journal is the record of an install on its way.
type journal struct {
	file   durable.File
	marks  map[string][]mark // of the install that was cut, by file name
	marked bool              // there is something to go on with
}

// mark says that the first size bytes of a file are on the disk.
type mark struct {
	size int64
	sum  uint32
}

// openJournal returns the journal of the target: that of an install of the same slot set, or a new one in an empty slot.
func (i *installation) openJournal(dir string) (*journal, error) {
	path := filepath.Join(dir, journalName)
	start := journalStart + bundle.Digest(i.Raw) + "\n"
	if j := i.oldJournal(path, start); j != nil {
		for _, name := range []string{bundle.ManifestName, bundle.SignatureName, newManifest} { // they come last, once more
			if err := i.files.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, errors.Join(err, j.file.Close())
			}
		}
		return j, nil
	}
	if err := i.empty(); err != nil {
		return nil, err
	}
	f, err := i.files.Create(path)
	if err != nil {
		return nil, err
	}
	_, err = io.WriteString(f, start+journalVersion+i.Manifest.Version+"\n")
	if err == nil {
		err = f.Datasync()
	}
	if err == nil {
		err = i.files.SyncDir(dir)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &journal{file: f}, nil
}

// oldJournal returns nil if there is none of the same slot set, or none that can be read: then all begins anew.
func (i *installation) oldJournal(path, start string) *journal {
	f, err := i.files.Edit(path)
	if err != nil {
		return nil
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > journalMax {
		f.Close()
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(f, journalMax))
	lines, same := strings.CutPrefix(string(text), start)
	if err != nil || !same {
		f.Close()
		return nil
	}
	j := &journal{file: f, marks: map[string][]mark{}}
	for line := range strings.Lines(lines) {
		var name string
		var m mark
		if n, _ := fmt.Sscanf(line, "%s %d %x\n", &name, &m.size, &m.sum); n == 3 && strings.HasSuffix(line, "\n") {
			j.marks[name] = append(j.marks[name], m)
			j.marked = true
		}
	}
	if _, err := io.WriteString(f, "\n"); err != nil { // the last line may have been torn
		f.Close()
		return nil
	}
	return j
}

// halfInstalled returns the version whose install into the slot was cut, "" if none was.
func (d *device) halfInstalled(slot slots.Slot) string {
	path := filepath.Join(d.slotDir(slot), journalName)
	if allocated(path) == 0 { // it is not there, or no file
		return ""
	}
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() || info.Size() > journalMax {
		return ""
	}
	text, _ := os.ReadFile(path)
	lines := strings.SplitN(string(text), "\n", 3)
	if len(lines) < 3 || !strings.HasPrefix(lines[0], journalStart) || strings.ContainsFunc(lines[1], unicode.IsControl) {
		return ""
	}
	version, _ := strings.CutPrefix(lines[1], journalVersion)
	return version[:min(len(version), 80)]
}

func (j *journal) mark(name string, m mark) error {
	if _, err := fmt.Fprintf(j.file, "%s %d %08x\n", name, m.size, m.sum); err != nil {
		return err
	}
	j.marked = true
	return j.file.Datasync()
}

// kept returns how much of a payload is there already: up to the last mark at which the bytes are what they were.
func (i *installation) kept(path string, p *bundle.Payload) mark {
	limit := p.Size
	if p.Delta != nil && p.Verity != nil { // the hash tree behind the data is made, not carried
		limit = p.Verity.DataBlocks * verity.BlockSize
	}
	marks := i.journal.marks[p.Name]
	if len(marks) == 0 || allocated(path) == 0 { // a link, or a file that has another name: writing to it would write elsewhere
		return mark{}
	}
	f, err := i.files.Open(path)
	if err != nil {
		return mark{}
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > p.Size {
		return mark{}
	}
	var at mark
	sum := crc32.New(castagnoli())
	for _, m := range marks {
		if m.size < at.size || m.size > limit {
			break
		}
		if _, err := io.CopyN(sum, watched{f, i.ctx, &screen.Meter{}}, m.size-at.size); err != nil || sum.Sum32() != m.sum {
			break
		}
		at = m
	}
	return at
}

// payloadFile is a payload's file on its way to the disk.
type payloadFile struct {
	durable.File
	i    *installation
	name string
	out  io.Writer
	at   mark  // what has been written
	last int64 // up to where it is marked
}

// openPayload opens the file of a payload behind the bytes that are kept.
func (i *installation) openPayload(path, name string, kept mark) (*payloadFile, error) {
	f := &payloadFile{i: i, name: name, at: kept, last: kept.size}
	var err error
	if kept.size > 0 {
		if f.File, err = i.files.Edit(path); err == nil {
			f.out = io.NewOffsetWriter(f.File, kept.size)
		}
		return f, err
	}
	if i.journal.marks != nil { // of the install that was cut
		if err := i.files.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	f.File, err = i.files.Create(path)
	f.out = f.File
	return f, err
}

// Write implements io.Writer. Now and then what has come so far is brought to the disk, and marked.
func (f *payloadFile) Write(p []byte) (int, error) {
	n, err := f.out.Write(p)
	f.at.size += int64(n)
	f.at.sum = crc32.Update(f.at.sum, castagnoli(), p[:n])
	if err == nil && f.at.size-f.last >= f.i.markEvery {
		if err = f.Datasync(); err == nil {
			err = f.mark()
		}
	}
	return n, err
}

func (f *payloadFile) mark() error {
	f.last = f.at.size
	return f.i.journal.mark(f.name, f.at)
}

// finish brings the whole file to the disk. One that is copied in no time is not worth a mark.
func (f *payloadFile) finish() error {
	if err := f.Sync(); err != nil {
		return err
	}
	if f.at.size == f.last || f.at.size < f.i.markEvery {
		return nil
	}
	return f.mark()
}
