package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/fetch"
	"github.com/slotboot/slotboot/internal/screen"
	"github.com/slotboot/slotboot/slots"
)

func (a *app) installCommand() *cobra.Command {
	var f installFlags
	var restart bool
	c := command("install [flags] SRC", "Write a slot set into the slot that is not running", "slotctl install --reboot update.bundle", operands("SRC"),
		func(cmd *cobra.Command, args []string) error {
			if restart {
				if err := a.mayReboot(); err != nil {
					return err
				}
			}
			signal.Ignore(syscall.SIGPIPE) // whoever reads the progress may go; the install must not end between two writes
			err := a.installBest(cmd.Context(), args[0], f)
			if errors.Is(err, errNotNeeded) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if !restart {
				return nil
			}
			if err := a.reboot(); err != nil {
				return fmt.Errorf("%s is installed, but %w", args[0], err)
			}
			return nil
		})
	c.Long = "Write a slot set into the slot that is not running, and try it from the next boot\n" +
		"on. Until it is committed, the device falls back to the running slot. SRC is a\nbundle, a slot set folder, a block device with a bundle, an http(s) URL,\ndocker://REF, or update.json, of whose bundles the smallest that fits is taken."
	c.Flags().BoolVar(&f.force, "force", false, "also over the only slot that has proven itself")
	c.Flags().BoolVar(&restart, "reboot", false, "reboot into it")
	c.Flags().BoolVar(&f.needed, "needed", false, "not if it runs already, nor after a fallback from it")
	c.Flags().BoolVar(&f.downgrade, "allow-downgrade", false, "also below what was committed, if its maker consents")
	c.Flags().BoolVar(&f.insecure, "insecure", false, "whoever signed it, if the image allows that")
	c.Flags().StringVar(&f.keys, "keys", "", "off the device: the `DIR` with the public keys")
	c.Flags().StringVar(&f.identity, "identity", "", "`FILE` with the age key of encrypted bundles")
	c.Flags().StringVar(&f.id.CACert, "cacert", "", "believe only the authorities in `FILE`, not the system's")
	c.Flags().StringVar(&f.id.Cert, "cert", "", "`FILE` with the certificate to show the server")
	c.Flags().StringVar(&f.id.Key, "key", "", "`FILE` with its key, if it is not in the same")
	return c
}

// installFlags are the flags of install.
type installFlags struct {
	trust
	force    bool
	needed   bool
	identity string         // a file with keys for encrypted bundles
	id       fetch.Identity // towards servers
	full     bool           // look for no delta beside what is asked for
}

// installation is one install on its way.
type installation struct {
	*device
	*source
	ctx    context.Context
	force  bool
	trust  trust
	target slots.Slot
	from   string // what was asked for, for the record

	journal *journal
}

// install checks everything that can be checked before the first write, then writes. Until the block says that the
// target is bad nothing changes; afterwards a failure leaves the target bad and empty.
func (a *app) install(ctx context.Context, path string, f installFlags) (err error) {
	const nothing = "(nothing changed)"
	d, err := a.find(needs{env: true, data: true, running: true})
	if err != nil {
		return err
	}
	lock, err := d.lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	waits, err := d.allowed(f.force)
	if err != nil && !waits && !f.needed {
		return fmt.Errorf("%w %s", err, nothing)
	}
	refused := err
	o := sourceOptions{id: f.id, identity: d.identity(f.identity)}
	if !f.full {
		o.running = d.manifest(d.running)
	}
	src, err := a.openSource(ctx, path, o)
	if err != nil {
		return fmt.Errorf("%w %s", cmp.Or(refused, err), nothing)
	}
	defer src.file.Close()
	if f.needed {
		if err := d.needs(src.Manifest.Version, src.Manifest.Build); err != nil {
			return err
		}
	}
	if src.beside {
		defer func() {
			if err != nil {
				err = besideError{err}
			}
		}()
	}
	i := &installation{device: d, source: src, ctx: ctx, force: f.force, trust: f.trust, target: d.running.Other(), from: sourceName(path)}
	return i.run(refused, waits)
}

// run installs, unless the target holds the slot set already. refused is what the boot policy has against it.
func (i *installation) run(refused error, waits bool) error {
	const nothing = "(nothing changed)"
	if err := i.check(); err != nil {
		return fmt.Errorf("%w %s", cmp.Or(refused, err), nothing)
	}
	there := i.alreadyThere()
	switch {
	case there && waits:
		i.say("slot %s holds %s, build %s, and waits for the next boot already: nothing to do", i.target, i.Manifest.Version, short(i.Manifest.Build))
		return nil
	case refused != nil:
		return fmt.Errorf("%w %s", refused, nothing)
	case there:
		i.say("slot %s holds %s, build %s, already: nothing to write", i.target, i.Manifest.Version, short(i.Manifest.Build))
		return i.withData(false, i.takeUp)
	}
	if i.ctx.Err() != nil {
		return fmt.Errorf("%w %s", errInterrupted, nothing)
	}
	if err := i.space(); err != nil {
		return fmt.Errorf("%w %s", err, nothing)
	}
	return i.withData(false, i.write)
}

// allowed asks the boot policy. waits says that the target is on trial and not booted yet: to install the same once more
// is no error.
func (d *device) allowed(force bool) (waits bool, err error) {
	content, err := d.readEnv()
	if err != nil {
		return false, err
	}
	s := content.State
	_, target, err := slots.BeginInstall(s, d.running, force)
	target = cmp.Or(target, d.running.Other())
	return target != slots.None && s.Default == target && !s.Verified && s.Count == 0 && s.Bad != target, err
}

// check holds the slot set against the device.
func (i *installation) check() error {
	if dir, err := os.Stat(i.slotDir(i.target)); err == nil && i.folder != nil && os.SameFile(dir, i.folder) {
		return usagef("it is slot %s itself, which would be emptied first", i.target)
	}
	if err := i.authentic(); err != nil {
		return err
	}
	arch, m := i.arch, i.Manifest
	if here := i.manifest(i.running); here != nil {
		arch = here.Arch
	}
	if m.Arch != arch {
		return refusal{fmt.Errorf("it is for %s, this device is %s", m.Arch, arch)}
	}
	if err := i.suits(); err != nil {
		return err
	}
	return i.checkDeltas()
}

// alreadyThere says whether the target holds just this slot set, every byte of it.
func (i *installation) alreadyThere() bool {
	there, err := bundle.ReadFolder(onDisk(i.slotDir(i.target)))
	if err != nil || !bytes.Equal(there.Raw, i.Raw) || !bytes.Equal(there.Signature, i.Signature) {
		return false
	}
	bar := i.meter("compare", there.Manifest.Size())
	defer bar.Done()
	_, err = bundle.Verify(interruptible{onDisk(i.slotDir(i.target)), i.ctx}, bar.Add)
	return err == nil
}

// spareSpace is left for folders, extents and the manifest's temporary name.
const spareSpace = 64 << 10

// space asks whether the slot set fits, given that the target's old files go first.
func (i *installation) space() error {
	free, err := i.files.Free(i.data)
	if err != nil {
		return err
	}
	for _, name := range bundle.FileNames() {
		free += allocated(i.slotDir(i.target) + "/" + name)
	}
	need := int64(spareSpace) + blocks(int64(len(i.Raw))) + blocks(int64(len(i.Signature)))
	for _, p := range i.Manifest.Payloads {
		need += blocks(p.Size)
	}
	if need > free {
		return fmt.Errorf("%w: it takes %s, slot %s can hold %s", errNoSpace, screen.Size(need), i.target, screen.Size(free))
	}
	return nil
}

// blocks rounds up to the blocks that a file of so many bytes takes.
func blocks(n int64) int64 { return (n + 4095) &^ 4095 }

// allocated returns how many bytes removing a file frees, 0 of what is no file: a link of a long name has blocks, too.
func allocated(path string) int64 {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink == 1 {
		return st.Blocks * 512
	}
	return 0
}

// write does what changes the disk.
func (i *installation) write() error {
	m := i.Manifest
	i.say("slot %s: installing %s, build %s, %s", i.target, m.Version, short(m.Build), screen.Size(m.Size()))
	begun := func(s slots.State) (slots.State, error) {
		next, _, err := slots.BeginInstall(s, i.running, i.force)
		return next, err
	}
	if _, err := i.updateEnv(begun); err != nil {
		return fmt.Errorf("%w (both slots untouched)", err)
	}
	if err := i.fill(); err != nil {
		return i.abandon(err)
	}
	return i.activate()
}

// takeUp activates a slot set that was there already. The install that wrote it may have been killed before the journal
// was written back, where GRUB does not read.
func (i *installation) takeUp() error {
	if err := i.files.Settle(i.data); err != nil {
		return fmt.Errorf("%w (nothing changed)", err)
	}
	return i.activate()
}

// activate makes the target the default, on trial. When it fails the target stays whole, because the block may name it.
func (i *installation) activate() error {
	if i.ctx.Err() != nil {
		return fmt.Errorf("%w %s", errInterrupted, stateOf(i.target, "written but not activated"))
	}
	after, err := i.updateEnv(func(s slots.State) (slots.State, error) {
		if _, _, err := slots.BeginInstall(s, i.running, i.force); err != nil {
			return s, err
		}
		return slots.Activate(s, i.target), nil
	})
	if err != nil {
		return fmt.Errorf("activate: %w %s", err, stateOf(i.target, "written but perhaps not activated"))
	}
	i.record(event{Event: "install", Slot: i.target, Source: i.from})
	i.say("slot %s: on trial from the next boot on, %s; slotctl commit keeps it", i.target, boots(after.Limit))
	return nil
}

// abandon empties the target, which is bad already, and says what is left. Somebody who interrupts an install may want to
// go on with it, as after a cut.
func (i *installation) abandon(cause error) error {
	i.record(event{Event: "install-failed", Slot: i.target, Version: i.Manifest.Version, Build: i.Manifest.Build, Source: i.from, Cause: cause.Error()})
	if errors.Is(cause, errInterrupted) && i.journal != nil && i.journal.marked {
		return hinted{fmt.Errorf("%w %s", cause, stateOf(i.target, "left bad and half written")), "the same install goes on where this one was"}
	}
	if err := i.empty(); err != nil {
		return fmt.Errorf("%w %s; emptying it: %v", cause, stateOf(i.target, "left bad and half written"), err)
	}
	return fmt.Errorf("%w %s", cause, stateOf(i.target, "left empty"))
}

// empty removes a slot's files, manifest first, so that no half of a slot set has one.
func (i *installation) empty() error {
	dir := i.slotDir(i.target)
	names := append(bundle.FileNames(), newManifest, journalName)
	for n, name := range names {
		err := i.files.Remove(dir + "/" + name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if n == 0 || n == len(names)-1 {
			if err := i.files.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}
