package delta

import "strconv"

// pathEntries stands for what is between the files of an archive.
const pathEntries = "\x00entries"

// entry is a stretch of the plain bytes of a pack.
type entry struct {
	path       string
	skip, size int
}

// The header of a file in a newc archive: 6 bytes of magic and 13 numbers of 8 hex digits. Format: the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst.
const (
	cpioHeader   = 110
	cpioFileSize = 54
	cpioNameSize = 94
	cpioTrailer  = "TRAILER!!!"
)

// archived returns what the plain bytes of a pack are, without gaps: the files of newc archives and what is between
// them, or pathPacks for all of it where no archive begins.
func archived(plain []byte) (all []entry) {
	at, done := 0, 0
	for at+cpioHeader <= len(plain) && (string(plain[at:at+6]) == "070701" || string(plain[at:at+6]) == "070702") {
		size, err := strconv.ParseUint(string(plain[at+cpioFileSize:][:8]), 16, 31)
		nameSize, err2 := strconv.ParseUint(string(plain[at+cpioNameSize:][:8]), 16, 16)
		nameAt := at + cpioHeader
		if err != nil || err2 != nil || nameSize < 2 || int(nameSize) > len(plain)-nameAt {
			break
		}
		name := string(plain[nameAt:][:nameSize-1])
		data := (nameAt + int(nameSize) + 3) &^ 3
		if data > len(plain) || int(size) > len(plain)-data {
			break
		}
		if size > 0 && name[0] != 0 {
			all = append(all, entry{pathEntries, done, data - done}, entry{name, data, int(size)})
			done = data + int(size)
		}
		at = (data + int(size) + 3) &^ 3
		if name == cpioTrailer {
			for at < len(plain) && plain[at] == 0 { // the kernel skips zeros as well
				at++
			}
		}
	}
	switch {
	case done == 0 && at == 0:
		return []entry{{pathPacks, 0, len(plain)}}
	case done < len(plain):
		all = append(all, entry{pathEntries, done, len(plain) - done})
	}
	return all
}
