// Package kerneltest makes small files that look like kernels, modules and programs, for tests. Nothing of them can run.
package kerneltest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
)

// BzImage returns an x86 kernel file with the header fields that loaders read, around payload. It is for amd64 when
// loadFlags has bit 0.
func BzImage(release string, loadFlags uint16, payload []byte) []byte {
	const sects = 4
	b := make([]byte, (sects+1)*512)
	le := binary.LittleEndian
	b[0x1f1] = sects
	le.PutUint16(b[0x1fe:], 0xaa55)
	copy(b[0x202:], "HdrS")
	le.PutUint16(b[0x206:], 0x20f) // protocol
	le.PutUint16(b[0x236:], loadFlags)
	le.PutUint16(b[0x20e:], 0x300) // where the version is, from 0x200
	copy(b[0x500:], release+" (builder@host) #1 SMP\x00")
	le.PutUint32(b[0x24c:], uint32(len(payload)))
	padded := append(bytes.Clone(payload), make([]byte, -len(payload)&15)...)
	le.PutUint32(b[0x1f4:], uint32(len(padded)/16))
	return append(b, padded...)
}

// Amd64 returns a kernel of that release for amd64.
func Amd64(release string) []byte { return BzImage(release, 1, []byte("payload")) }

// Arm64 returns a kernel of that release for arm64; extra is what else the kernel holds.
func Arm64(release, extra string) []byte {
	b := make([]byte, 64)
	copy(b, "MZ")
	copy(b[0x38:], "ARM\x64")
	b = append(b, "\x00Linux version %s (%s)\x00Linux version "+release+" (builder@host) #1\n\x00"...)
	return append(b, extra...)
}

// Zboot returns an EFI zboot image around payload, a compressed kernel.
func Zboot(payload []byte, compression string) []byte {
	b := make([]byte, 64)
	copy(b, "MZ")
	copy(b[4:], "zimg")
	binary.LittleEndian.PutUint32(b[8:], 64)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(payload)))
	copy(b[24:], compression)
	return append(append(b, payload...), "signature"...)
}

// Module returns a .ko: an ELF file with a .modinfo section of the given "key=value" texts.
func Module(info ...string) []byte {
	text := strings.Join(info, "\x00") + "\x00"
	names := "\x00.modinfo\x00.shstrtab\x00"
	const header, section = 64, 64
	var b bytes.Buffer
	put := func(v any) { binary.Write(&b, binary.LittleEndian, v) }
	put(header64(elf.ET_REL, elf.EM_X86_64, func(h *elf.Header64) {
		h.Shentsize, h.Shnum, h.Shstrndx, h.Shoff = section, 3, 2, uint64(header+len(text)+len(names))
	}))
	b.WriteString(text + names)
	put(elf.Section64{})
	put(elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: header, Size: uint64(len(text))})
	put(elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: uint64(header + len(text)), Size: uint64(len(names))})
	return b.Bytes()
}

// Program returns what looks like a static program for arch, amd64 or arm64. With dynamic it asks for a loader.
func Program(arch string, dynamic bool) []byte {
	machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]
	var b bytes.Buffer
	put := func(v any) { binary.Write(&b, binary.LittleEndian, v) }
	put(header64(elf.ET_EXEC, machine, func(h *elf.Header64) { h.Phentsize, h.Phnum, h.Phoff = 56, 1, 64 }))
	kind := elf.PT_LOAD
	if dynamic {
		kind = elf.PT_INTERP
	}
	put(elf.Prog64{Type: uint32(kind), Off: 120, Filesz: 16, Memsz: 16})
	b.WriteString("/lib/ld-x.so.2\x00\x00")
	return b.Bytes()
}

func header64(kind elf.Type, machine elf.Machine, edit func(*elf.Header64)) elf.Header64 {
	h := elf.Header64{Type: uint16(kind), Machine: uint16(machine), Version: 1, Ehsize: 64}
	copy(h.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	edit(&h)
	return h
}

// UKI returns a unified kernel image: an EFI program that carries the kernel in its section .linux, padded as objcopy
// pads it.
func UKI(linux []byte) []byte {
	const peAt, dataAt = 0x80, 0x400
	padded := (len(linux) + 511) / 512 * 512
	b := make([]byte, dataAt+padded)
	le := binary.LittleEndian
	copy(b, "MZ")
	le.PutUint32(b[0x3c:], peAt)
	copy(b[peAt:], "PE\x00\x00")
	le.PutUint16(b[peAt+4:], 0x8664)
	le.PutUint16(b[peAt+6:], 1) // sections
	s := b[peAt+24:]
	copy(s, ".linux")
	le.PutUint32(s[8:], uint32(len(linux)))
	le.PutUint32(s[12:], 0x2000000)
	le.PutUint32(s[16:], uint32(padded))
	le.PutUint32(s[20:], dataAt)
	copy(b[dataAt:], linux)
	return b
}
