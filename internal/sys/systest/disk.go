package systest

import (
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Partition is one to put on a disk with AddDisk.
type Partition struct {
	PartUUID string // a GUID
	ESP      bool
	Type     string // ext4, vfat, or "" for nothing
	UUID     string // of the file system: a GUID, or 8 hex digits with vfat
	Label    string
	Content  string // the folder that stands for its content; "": it cannot be mounted
}

// AddDisk plugs in a disk with a GPT: name is what the kernel calls it, for example vda.
func (m *Machine) AddDisk(name string, parts ...Partition) {
	disk := make([]byte, 2048+128*len(parts))
	disk[510], disk[511] = 0x55, 0xaa
	header := disk[512:]
	copy(header, "EFI PART")
	binary.LittleEndian.PutUint64(header[72:], 2)
	binary.LittleEndian.PutUint32(header[80:], uint32(len(parts)))
	binary.LittleEndian.PutUint32(header[84:], 128)
	m.addBlock("/sys/devices/pci/"+name, name, "")
	for i, p := range parts {
		number := strconv.Itoa(i + 1)
		kind := "0fc63daf-8483-4772-8e79-3d69d8477de4"
		if p.ESP {
			kind = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
		}
		entry := disk[1024+128*i:]
		copy(entry, guid(kind))
		copy(entry[16:], guid(p.PartUUID))
		m.addBlock("/sys/devices/pci/"+name+"/"+name+number, name+number, number)
		m.Write("/dev/"+name+number, string(p.superblock()))
		m.media["/dev/"+name+number] = p.Content
	}
	m.Write("/dev/"+name, string(disk))
	m.Write("/sys/class/block/"+name+"/queue/logical_block_size", "512\n")
}

// RemoveDisk unplugs it.
func (m *Machine) RemoveDisk(name string) {
	for _, pattern := range []string{"/dev/" + name + "*", "/sys/class/block/" + name + "*"} {
		files, _ := filepath.Glob(m.Path(pattern))
		for _, file := range files {
			m.must(os.Remove(file))
		}
	}
}

func (m *Machine) addBlock(folder, name, number string) {
	m.Write(folder+"/size", "2048\n")
	if number != "" {
		m.Write(folder+"/partition", number+"\n")
	}
	link := m.Path("/sys/class/block/" + name)
	os.Remove(link)
	m.must(os.Symlink("../../devices/"+strings.TrimPrefix(folder, "/sys/devices/"), link))
}

// superblock returns the first bytes of the partition.
func (p Partition) superblock() []byte {
	out := make([]byte, 4096)
	switch p.Type {
	case "ext4":
		binary.LittleEndian.PutUint16(out[1024+0x38:], 0xef53)
		id, _ := hex.DecodeString(strings.ReplaceAll(p.UUID, "-", ""))
		copy(out[1024+0x68:], id)
		copy(out[1024+0x78:1024+0x88], p.Label)
	case "vfat":
		serial, _ := strconv.ParseUint(strings.ReplaceAll(p.UUID, "-", ""), 16, 32)
		binary.LittleEndian.PutUint32(out[0x43:], uint32(serial))
		copy(out[0x47:0x52], p.Label+"           ")
		copy(out[0x52:], "FAT32   ")
		out[510], out[511] = 0x55, 0xaa
	}
	return out
}

// guid returns a GUID as GPT holds it.
func guid(text string) []byte {
	u, _ := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if len(u) != 16 {
		u = make([]byte, 16)
	}
	return []byte{u[3], u[2], u[1], u[0], u[5], u[4], u[7], u[6], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]}
}
