package kernel

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io/fs"
	"path"
	"strings"
)

// Config is a kernel configuration: CONFIG_ names without the prefix, and their values unquoted ("y", "m", "437").
// A nil Config is one that is not known.
type Config map[string]string

// Yes tells whether name is built in.
func (c Config) Yes(name string) bool { return c[name] == "y" }

// On tells whether name is built in or a module.
func (c Config) On(name string) bool { return c[name] == "y" || c[name] == "m" }

// ParseConfig reads the text of a .config file. Text without any setting gives nil.
func ParseConfig(text []byte) Config {
	var c Config
	sc := bufio.NewScanner(bytes.NewReader(text))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		name, value, ok := strings.Cut(sc.Text(), "=")
		name, isConfig := strings.CutPrefix(name, "CONFIG_")
		if !ok || !isConfig {
			continue
		}
		if c == nil {
			c = Config{}
		}
		c[name] = strings.Trim(value, `"`)
	}
	return c
}

// findConfig looks for the configuration beside the modules, beside the kernel, and inside the kernel (CONFIG_IKCONFIG).
func findConfig(root fs.FS, k *Kernel) Config {
	var names []string
	if k.ModulesDir != "" {
		names = append(names, path.Join(k.ModulesDir, "config"))
	}
	names = append(names, "boot/config-"+k.Release)
	// Alpine: boot/vmlinuz-lts goes with boot/config-lts or, in older releases, with the full release.
	if _, flavour, ok := strings.Cut(path.Base(k.Path), "-"); ok && path.Dir(k.Path) == "boot" {
		names = append(names, "boot/config-"+flavour)
	}
	for _, name := range names {
		if text, err := fs.ReadFile(root, name); err == nil {
			if c := ParseConfig(text); c != nil {
				return c
			}
		}
	}
	if c := embeddedConfig(k.Image); c != nil {
		return c
	}
	if k.Modules != nil {
		if text, err := k.Modules.Read("kernel/kernel/configs.ko"); err == nil {
			return cutConfig(text)
		}
	}
	return nil
}

// embeddedConfig reads what CONFIG_IKCONFIG puts into the kernel. In a bzImage the kernel is compressed; a compression
// we cannot undo (lzo, or xz with the x86 filter) means that the configuration is not known.
func embeddedConfig(img *Image) Config {
	if img.Arch != "amd64" && img.Arch != "386" {
		return cutConfig(img.Boot)
	}
	le := binary.LittleEndian
	if le.Uint16(img.Boot[hdrProtocol:]) < 0x208 {
		return nil
	}
	off := setupBytes(img.Boot) + int64(le.Uint32(img.Boot[hdrPayloadOff:]))
	end := off + int64(le.Uint32(img.Boot[hdrPayloadLen:]))
	if off >= end || end > int64(len(img.Boot)) {
		return nil
	}
	plain, err := decompress(img.Boot[off:end])
	if err != nil && len(plain) == 0 {
		return nil
	}
	return cutConfig(plain)
}

// cutConfig finds the gzip file between the markers IKCFG_ST and IKCFG_ED.
func cutConfig(data []byte) Config {
	_, rest, ok := bytes.Cut(data, []byte("IKCFG_ST\x1f\x8b"))
	if !ok {
		return nil
	}
	start := data[len(data)-len(rest)-2:]
	gz, _, ok := bytes.Cut(start, []byte("IKCFG_ED"))
	if !ok {
		return nil
	}
	text, err := decompress(gz)
	if err != nil {
		return nil
	}
	return ParseConfig(text)
}
