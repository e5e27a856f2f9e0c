package durable

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// MaxUpdate is the size in bytes of the largest file that Update changes.
const MaxUpdate = 1 << 20

// lockWait is how long Update waits for another one: its holder writes one kilobyte.
const lockWait = 10 * time.Second

// ErrShrink is returned when an edit gives fewer bytes than the file has. A file that GRUB reads is never truncated: a
// power cut in between leaves it empty.
var ErrShrink = errors.New("the new content is shorter than the file")

// ErrReadBack is returned when the disk gives back other bytes than were written.
var ErrReadBack = errors.New("the disk gives back other bytes than were written")

// Update changes the file at path in place: it locks the file, hands its content to edit, and writes what edit returns
// with one pwrite at offset 0, because GRUB saves by block address and a rename is not atomic on FAT. When Update
// returns nil the content is on the disk: synced, read back and compared.
//
// The file must exist (fs.ErrNotExist), be regular and have at most MaxUpdate bytes (fs.ErrInvalid). An error of edit is returned as it is and nothing is written, nor is anything
// when edit returns what it was given. ErrLocked: somebody else held the lock for 10 seconds. After a failed write or
// sync the content of the file is not known; the error says so.
func Update(path string, edit func(old []byte) ([]byte, error)) error {
	return UpdateIn(OS{}, path, edit)
}

// UpdateIn is Update in another file system.
func UpdateIn(fsys FS, path string, edit func(old []byte) ([]byte, error)) (err error) {
	f, err := fsys.Edit(path)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
	}()
	if err := f.Lock(lockWait); err != nil {
		return fmt.Errorf("update %s: %w", path, err)
	}
	old, err := readWhole(f)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	content, err := edit(bytes.Clone(old))
	if err != nil {
		return err
	}
	switch {
	case bytes.Equal(old, content):
		return nil
	case len(content) < len(old):
		return fmt.Errorf("update %s: %w: %d bytes, it has %d", path, ErrShrink, len(content), len(old))
	}
	if err := writeInPlace(f, content); err != nil {
		return fmt.Errorf("update %s: %w (its content is now uncertain)", path, err)
	}
	return nil
}

func writeInPlace(f File, content []byte) error {
	if n, err := f.WriteAt(content, 0); err != nil {
		return err
	} else if n != len(content) {
		return io.ErrShortWrite
	}
	if err := f.Datasync(); err != nil {
		return err
	}
	if err := f.DropCache(); err != nil {
		return err
	}
	back, err := readWhole(f)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if !bytes.Equal(back, content) {
		return ErrReadBack
	}
	return nil
}

// Read returns the content of the file at path, which Update may change later.
func Read(fsys FS, path string) ([]byte, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := readWhole(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return content, nil
}

// unfit is an error about a file that is none to update. It counts as fs.ErrInvalid.
type unfit string

func (u unfit) Error() string        { return string(u) }
func (u unfit) Is(target error) bool { return target == fs.ErrInvalid }

func readWhole(f File) ([]byte, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, unfit("not a regular file")
	case info.Size() > MaxUpdate:
		return nil, unfit(fmt.Sprintf("%d bytes, want at most %d", info.Size(), MaxUpdate))
	}
	content := make([]byte, info.Size())
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, info.Size()), content); err != nil {
		return nil, err
	}
	return content, nil
}

// Create makes the file at path with content, and makes it durable: content, name and blocks. It never replaces a file
// (fs.ErrExist). What it began it removes again when it fails.
func Create(fsys FS, path, dir string, content []byte) error {
	f, err := fsys.Create(path)
	if err != nil {
		return err
	}
	err = writeInPlace(f, content)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = fsys.SyncDir(dir)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("create %s: %w", path, err), fsys.Remove(path))
	}
	return nil
}
