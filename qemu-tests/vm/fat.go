package vm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// fat is a FAT16 or FAT32 file system in an image: as much of it as reading a file and overwriting it in place need.
type fat struct {
	f           *os.File
	wide        bool  // FAT32
	table       int64 // offset of the first allocation table
	root        int64 // FAT16: offset of the root folder
	rootSize    int64 // FAT16: its size
	rootCluster uint32
	data        int64 // offset of cluster 2
	cluster     int64 // bytes in a cluster
	clusters    uint32
}

// fatFile is where a file lies.
type fatFile struct {
	first uint32
	size  int64
	dir   bool
}

func openFAT(f *os.File, offset int64) (*fat, error) {
	b := make([]byte, 512)
	if _, err := f.ReadAt(b, offset); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	sector := int64(le.Uint16(b[11:]))
	reserved, tables, rootEntries := int64(le.Uint16(b[14:])), int64(b[16]), int64(le.Uint16(b[17:]))
	total, tableSize := int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:]))
	if total == 0 {
		total = int64(le.Uint32(b[32:]))
	}
	if tableSize == 0 {
		tableSize = int64(le.Uint32(b[36:]))
	}
	v := &fat{f: f, cluster: int64(b[13]) * sector}
	if b[510] != 0x55 || b[511] != 0xaa || sector < 512 || v.cluster == 0 || tables == 0 {
		return nil, errors.New("not a FAT file system")
	}
	v.table = offset + reserved*sector
	v.root = v.table + tables*tableSize*sector
	v.rootSize = rootEntries * 32
	v.data = v.root + (v.rootSize+sector-1)/sector*sector
	v.clusters = uint32((total*sector - (v.data - offset)) / v.cluster)
	switch {
	case v.clusters < 4085:
		return nil, errors.New("FAT12 is not known here")
	case v.rootSize == 0: // not the cluster count: small FAT32 boot partitions break that rule
		v.wide, v.rootCluster = true, le.Uint32(b[44:])
	}
	return v, nil
}

// chain returns the clusters of a file.
func (v *fat) chain(first uint32) ([]uint32, error) {
	var chain []uint32
	for at := first; at >= 2; {
		if at-2 >= v.clusters || len(chain) > int(v.clusters) {
			return nil, fmt.Errorf("damaged cluster chain at %d", at)
		}
		chain = append(chain, at)
		entry := make([]byte, 4)
		var end uint32
		if v.wide {
			if _, err := v.f.ReadAt(entry, v.table+4*int64(at)); err != nil {
				return nil, err
			}
			at, end = binary.LittleEndian.Uint32(entry)&0x0fffffff, 0x0ffffff8
		} else {
			if _, err := v.f.ReadAt(entry[:2], v.table+2*int64(at)); err != nil {
				return nil, err
			}
			at, end = binary.LittleEndian.Uint32(entry), 0xfff8
		}
		if at >= end {
			break
		}
	}
	return chain, nil
}

func (v *fat) offset(cluster uint32) int64 { return v.data + int64(cluster-2)*v.cluster }

// content returns all clusters of a chain.
func (v *fat) content(first uint32) ([]byte, error) {
	chain, err := v.chain(first)
	if err != nil {
		return nil, err
	}
	data := make([]byte, int64(len(chain))*v.cluster)
	for i, cluster := range chain {
		if _, err := v.f.ReadAt(data[int64(i)*v.cluster:][:v.cluster], v.offset(cluster)); err != nil {
			return nil, err
		}
	}
	return data, nil
}

func (v *fat) read(file fatFile) ([]byte, error) {
	data, err := v.content(file.first)
	if err == nil && int64(len(data)) < file.size {
		err = fmt.Errorf("cluster chain holds %d of %d bytes", len(data), file.size)
	}
	if err != nil {
		return nil, err
	}
	return data[:file.size], nil
}

func (v *fat) overwrite(file fatFile, data []byte) error {
	if int64(len(data)) > file.size {
		return fmt.Errorf("%d bytes do not fit a file of %d", len(data), file.size)
	}
	chain, err := v.chain(file.first)
	if err != nil {
		return err
	}
	for _, cluster := range chain {
		n := min(int64(len(data)), v.cluster)
		if _, err := v.f.WriteAt(data[:n], v.offset(cluster)); err != nil {
			return err
		}
		data = data[n:]
	}
	if len(data) > 0 {
		return errors.New("cluster chain is shorter than the file")
	}
	return nil
}

// find walks path, without regard to case, from the root folder.
func (v *fat) find(path string) (fatFile, error) {
	at := fatFile{first: v.rootCluster, dir: true}
	folder, err := v.rootFolder()
	for _, name := range strings.Split(strings.Trim(path, "/"), "/") {
		if err != nil {
			return fatFile{}, err
		}
		var ok bool
		if at, ok = lookup(folder, name); !ok {
			return fatFile{}, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		folder = nil
		if at.dir {
			folder, err = v.content(at.first)
		}
	}
	if at.dir {
		return fatFile{}, fmt.Errorf("%s is a folder", path)
	}
	return at, err
}

func (v *fat) rootFolder() ([]byte, error) {
	if v.wide {
		return v.content(v.rootCluster)
	}
	folder := make([]byte, v.rootSize)
	_, err := v.f.ReadAt(folder, v.root)
	return folder, err
}

// lookup finds a long or short name in the bytes of a folder.
func lookup(folder []byte, name string) (fatFile, bool) {
	const longName, volume, directory = 0x0f, 0x08, 0x10
	long := ""
	for ; len(folder) >= 32 && folder[0] != 0; folder = folder[32:] {
		e := folder[:32]
		switch {
		case e[0] == 0xe5: // deleted
			long = ""
			continue
		case e[11] == longName: // pieces come last first
			long = utf16Name(append(append(append([]byte(nil), e[1:11]...), e[14:26]...), e[28:32]...)) + long
			continue
		case e[11]&volume != 0:
			long = ""
			continue
		}
		short := strings.TrimRight(string(e[:8]), " ")
		if ext := strings.TrimRight(string(e[8:11]), " "); ext != "" {
			short += "." + ext
		}
		if strings.EqualFold(short, name) || strings.EqualFold(long, name) {
			return fatFile{
				first: uint32(binary.LittleEndian.Uint16(e[20:]))<<16 | uint32(binary.LittleEndian.Uint16(e[26:])),
				size:  int64(binary.LittleEndian.Uint32(e[28:])),
				dir:   e[11]&directory != 0,
			}, true
		}
		long = ""
	}
	return fatFile{}, false
}
