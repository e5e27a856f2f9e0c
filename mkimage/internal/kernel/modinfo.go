package kernel

import (
	"bytes"
	"debug/elf"
	"fmt"
	"strings"
)

// modinfo is what a module says about itself.
type modinfo struct {
	depends  []string // names, direct
	aliases  []string // patterns
	firmware []string // paths below the firmware folder
	soft     softdep
}

// parseModinfo reads the .modinfo section of a module: NUL-separated "depends=fat,nls_base".
func parseModinfo(data []byte) (*modinfo, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("not a module: %w", err)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("not a module: no .modinfo section")
	}
	text, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read .modinfo: %w", err)
	}
	info := &modinfo{}
	for rec := range bytes.SplitSeq(text, []byte{0}) {
		key, value, _ := strings.Cut(string(rec), "=")
		switch key {
		case "depends":
			for dep := range strings.SplitSeq(value, ",") {
				if dep != "" {
					info.depends = append(info.depends, Name(dep))
				}
			}
		case "alias":
			info.aliases = append(info.aliases, value)
		case "firmware":
			info.firmware = append(info.firmware, value)
		case "softdep":
			info.soft = info.soft.and(parseSoft(strings.Fields(value)))
		}
	}
	return info, nil
}

// info returns the .modinfo of the module name, which must exist.
func (m *Modules) info(name string) (*modinfo, error) {
	if info := m.infos[name]; info != nil {
		return info, nil
	}
	data, err := m.Read(plainPath(m.paths[name]))
	if err != nil {
		return nil, err
	}
	info, err := parseModinfo(data)
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", m.paths[name], err)
	}
	m.infos[name] = info
	return info, nil
}
