package main

import (
	"bytes"
	"debug/elf"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// embedded holds init-ARCH for each architecture when `make build` has put them there, else only a README.
//
//go:embed all:embedded
var embedded embed.FS

// embeddedInits returns the architectures that inside, embedded or a test's, holds init for.
func embeddedInits(inside fs.FS) []string {
	archs := []string{}
	names, _ := fs.Glob(inside, "embedded/init-*")
	for _, name := range names {
		archs = append(archs, strings.TrimPrefix(name, "embedded/init-"))
	}
	return archs
}

// initProgram returns the static init for arch: from file if that is not empty, else the one inside this program, else one
// in the folder beside: init-ARCH, or init if it is for arch.
func initProgram(file, arch string, inside fs.FS, beside string) ([]byte, error) {
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read init: %w", err)
		}
		if err := checkInit(data, arch); err != nil {
			return nil, notIntact{fmt.Errorf("read init %s: %w", file, err)}
		}
		return data, nil
	}
	if data, err := fs.ReadFile(inside, "embedded/init-"+arch); err == nil {
		return data, checkInit(data, arch)
	}
	looked := []string{"inside mkimage"}
	for _, name := range []string{"init-" + arch, "init"} {
		path := filepath.Join(beside, name)
		looked = append(looked, path)
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if err := checkInit(data, arch); err != nil {
			looked[len(looked)-1] += " (" + err.Error() + ")"
			continue
		}
		return data, nil
	}
	err := fmt.Errorf("find init for %s: not there (looked at %s)", arch, strings.Join(looked, ", "))
	return nil, withHint(err, "make build puts it there, or: CGO_ENABLED=0 GOARCH=%s go build -o init-%s ./init, then --init init-%s", arch, arch, arch)
}

// programDir returns the folder that this program is in, links followed.
func programDir() string {
	exe, err := os.Executable()
	if err != nil {
		return "."
	}
	if real, err := filepath.EvalSymlinks(exe); err == nil {
		exe = real
	}
	return filepath.Dir(exe)
}

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// checkInit makes sure that data can be PID 1 where no library is: a static program for arch.
func checkInit(data []byte, arch string) error {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return errors.New("not an ELF program")
	}
	if f.Machine != machines[arch] {
		return fmt.Errorf("a program for %v, want %s", f.Machine, arch)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("linked dynamically, want a static program (CGO_ENABLED=0)")
		}
	}
	return nil
}
