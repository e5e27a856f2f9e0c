package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/slotboot/slotboot/internal/bootenv"
	"github.com/slotboot/slotboot/internal/durable"
	"github.com/slotboot/slotboot/overlay"
	"github.com/slotboot/slotboot/slots"
)

var errNoEnv = errors.New("find environment block: no such partition; slotboot.env= on the kernel command line names it")

// blockAdvice says what to do about a block that cannot be used, for the log: nobody counts the boots of a trial then.
func (b *boot) blockAdvice(err error) string {
	if errors.Is(err, fs.ErrNotExist) && b.found.env != nil {
		return err.Error() + "; mount " + b.found.env.node + " and run slotctl env create on " + b.cfg.envPath + " there"
	}
	return err.Error()
}

// decide finds out what to boot, and makes the environment block say so. After an error the decision stands, unsaved.
func (b *boot) decide() error {
	if b.cfg.handedOver {
		return b.agree()
	}
	return b.choose()
}

// agree makes the block say what the boot loader decided. It writes only if the block says something else: the
// boot loader's save was lost, or could not be done.
func (b *boot) agree() error {
	b.saved = false
	state, err := b.readBlock()
	if err != nil {
		b.saved = b.cfg.saved
		return err
	}
	next := slots.Agree(state, b.cfg.handover)
	if next != state {
		next, err = b.writeBlock(func(s slots.State) slots.State { return slots.Agree(s, b.cfg.handover) })
	}
	if err != nil {
		b.saved = b.cfg.saved
		return err
	}
	b.saved, b.block = true, next
	if b.why == slots.WhyTrial && next.OnTrial(b.slot) {
		b.count = next.Count
	}
	b.limit = next.Limit
	return nil
}

// choose applies the policy where no boot loader has. Without a block it boots what an empty block means, because a
// device that boots can be repaired.
func (b *boot) choose() error {
	state, readErr := b.readBlock()
	if readErr != nil {
		state = slots.FromEnv(func(string) (string, bool) { return "", false }, b.cfg.limit)
	}
	b.take(state)
	next, _, _ := slots.Boot(state)
	b.saved = next == state && readErr == nil
	if next == state {
		return readErr
	}
	_, err := b.writeBlock(func(s slots.State) slots.State {
		s, _, _ = slots.Boot(s)
		return s
	})
	b.saved = err == nil
	if err != nil && b.why == slots.WhyOnce { // it would repeat for ever: see slots.Boot
		b.take(state.WithoutOnce())
	}
	return err
}

// take boots what the policy says for s.
func (b *boot) take(s slots.State) {
	b.block, b.slot, b.why = slots.Boot(s)
	b.count, b.limit = b.block.Count, b.block.Limit
	b.cfg.fellBack = b.why == slots.WhyFallback
}

// readBlock returns what the environment block says. A block that GRUB could not read either is an empty one.
func (b *boot) readBlock() (state slots.State, err error) {
	err = b.withBlock(false, func(path string) error {
		content, err := bootenv.ReadIn(b.files, path, b.cfg.limit)
		if content.Damage != nil {
			b.note("environment block is damaged, reading as empty: " + content.Damage.Error())
		}
		state = content.State
		return err
	})
	b.read = err == nil
	if err != nil {
		err = fmt.Errorf("read environment block: %w", err)
	}
	return state, err
}

// writeBlock changes the environment block by edit, and makes one if there is none. The change is on the disk when the
// error is nil.
func (b *boot) writeBlock(edit func(slots.State) slots.State) (next slots.State, err error) {
	err = b.withBlock(true, func(path string) error {
		var err error
		next, err = bootenv.UpdateIn(b.files, path, b.cfg.limit, func(s slots.State) (slots.State, error) { return edit(s), nil })
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		next = edit(slots.FromEnv(func(string) (string, bool) { return "", false }, b.cfg.limit))
		content, err := bootenv.New(next)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return durable.Create(b.files, path, filepath.Dir(path), content)
	})
	if err != nil {
		err = fmt.Errorf("write environment block: %w", err)
	}
	return next, err
}

// withBlock calls do with the path of the environment block's file, whose file system is mounted for just so long: it is
// mostly a FAT, which a power cut while it is writable may hurt.
func (b *boot) withBlock(write bool, do func(path string) error) (err error) {
	env := b.found.env
	if env == nil {
		return errNoEnv
	}
	at := overlay.Env
	mount := overlay.Mount{Source: env.node, Target: at, Type: env.fs.Type, Flags: overlay.NoSuid | overlay.NoDev | overlay.NoExec}
	if b.found.data != nil && env.node == b.found.data.node {
		if err := b.mountData(); err != nil {
			return err
		}
		at = overlay.Data
		if write {
			if err := b.remountData(0); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, b.remountData(overlay.ReadOnly)) }()
		}
	} else {
		if !write {
			mount.Flags |= overlay.ReadOnly
		}
		b.mods.filesystem(mount.Type)
		if err := b.m.Mount(mount); err != nil {
			return err
		}
		defer func() {
			err = errors.Join(err, b.m.Unmount(at))
			os.Remove(b.m.Path(at))
		}()
	}
	return do(filepath.Join(b.m.Path(at), filepath.FromSlash(b.cfg.envPath)))
}
