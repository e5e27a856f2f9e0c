package rootfs

import (
	"archive/tar"
	"strings"
	"time"
)

// sample is an image whose root is not obvious.
type sample struct {
	name   string
	layers [][]ent
	// fails means that no engine can apply it: umoci and Flatten both return an error.
	fails bool
	// differs says why Flatten's result is another one than umoci's, and want what it is. Only for what umoci refuses.
	differs string
	want    string
	// root marks images with devices or owners that only root can unpack, for umoci's sake.
	root bool
}

func layersIn(l ...[]ent) [][]ent { return l }

func node(kind byte, name string, major, minor int64) ent {
	return ent{tar.Header{Typeflag: kind, Name: name, Mode: 0o640, Devmajor: major, Devminor: minor}, ""}
}

// many is n files in folders of ten.
func many(n int) []ent {
	var list []ent
	for i := range n {
		list = append(list, file("many/"+strings.Repeat("d", i/10%7+1)+"/"+string(rune('a'+i%26))+strings.Repeat("x", i%5), strings.Repeat("body", i)))
	}
	return list
}

const (
	schily = "SCHILY.xattr."
	// cap_net_raw+ep, as setcap stores it.
	capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
)

// corpus returns the images that Flatten and umoci must agree on.
func corpus() []sample {
	return append(append(append(whiteouts(), links()...), kinds()...), names()...)
}

func whiteouts() []sample {
	low := []ent{dir("d"), file("d/a", "a"), file("d/b", "b"), dir("d/sub"), file("d/sub/x", "x"), file("top", "t")}
	with := func(upper ...ent) [][]ent { return layersIn(low, upper) }
	return []sample{
		{name: "one layer", layers: layersIn(low)},
		{name: "whiteout of a file", layers: with(gone("d/.wh.a"))},
		{name: "whiteout of a folder", layers: with(gone(".wh.d"))},
		{name: "whiteout of nothing", layers: with(gone("d/.wh.nothing"), gone(".wh.nowhere"))},
		{name: "whiteout below a folder that is not there", layers: with(gone("no/such/.wh.x"))},
		{name: "whiteout, then the same name", layers: with(gone("d/.wh.a"), file("d/a", "new"))},
		{name: "the name, then its whiteout", layers: with(file("d/a", "new"), gone("d/.wh.a"))},
		{name: "whiteout of a folder, then a file in it", layers: with(gone(".wh.d"), dir("d").mode(0o700), file("d/new", "n"))},
		{name: "a file in a folder, then the folder's whiteout", layers: with(dir("d").mode(0o700), file("d/new", "n"), gone(".wh.d"))},
		{name: "opaque", layers: with(dir("d"), gone("d/.wh..wh..opq"), file("d/new", "n"))},
		{name: "opaque after the new file", layers: with(dir("d"), file("d/new", "n"), gone("d/.wh..wh..opq"))},
		{name: "opaque without an entry for the folder", layers: with(gone("d/.wh..wh..opq"))},
		{name: "opaque with a new folder below", layers: with(dir("d"), file("d/sub/y", "y"), gone("d/.wh..wh..opq"))},
		{name: "new folder in a lower one, then opaque", layers: with(file("d/e/f", "f"), gone("d/.wh..wh..opq"))},
		{name: "new folder in a lower one, then opaque root", layers: with(file("d/e/f", "f"), gone(".wh..wh..opq"))},
		{name: "opaque root", layers: with(gone(".wh..wh..opq"), file("only", "o"))},
		{name: "opaque of nothing", layers: with(gone("no/.wh..wh..opq"))},
		{name: "whiteout in the first layer", layers: layersIn([]ent{gone(".wh.x"), file("a", "a")})},
		{name: "file comes back two layers later", layers: layersIn(low, []ent{gone("d/.wh.a")}, []ent{file("d/a", "again").mode(0o600)})},
		{name: "whiteout removes a link, not its target", layers: layersIn([]ent{dir("usr"), file("usr/f", "f"), sym("l", "usr")}, []ent{gone(".wh.l")})},
		{name: "whiteout through a link", layers: layersIn([]ent{dir("usr"), file("usr/f", "f"), sym("l", "usr")}, []ent{gone("l/.wh.f")})},
		{name: "folder becomes file", layers: with(file("d", "now a file"))},
		{name: "file becomes folder", layers: with(dir("top"), file("top/in", "in"))},
		{name: "file becomes link", layers: with(sym("top", "d/a"))},
		{name: "folder takes new attributes and keeps its entries", layers: with(dir("d").mode(0o1770).at(day.Add(time.Hour)))},
		{name: "file replaced keeps nothing of the old one", layers: layersIn([]ent{file("f", "old").mode(0o4755).attr(schily+"user.a", "1")}, []ent{file("f", "new").mode(0o600)})},
		{name: "whiteout of aufs", layers: with(gone(".wh..wh.aufs")), differs: "aufs's own files are not part of the root"},
		{name: "bare whiteout", layers: with(gone("d/.wh."), file("d/new", "n")), differs: "umoci refuses it",
			want: ". d d/a d/b d/new d/sub d/sub/x top"},
	}
}

func links() []sample {
	three := []ent{file("t2", "old"), hard("t1", "t2"), hard("t3", "t2")}
	return []sample{
		{name: "hard links in a layer", layers: layersIn(three)},
		{name: "hard link target deleted", layers: layersIn(three, []ent{gone(".wh.t2")})},
		{name: "hard link target overwritten", layers: layersIn(three, []ent{file("t2", "new")})},
		{name: "hard link name overwritten", layers: layersIn(three, []ent{file("t1", "new")})},
		{name: "hard link target replaced by a folder", layers: layersIn(three, []ent{dir("t2"), file("t2/f", "")})},
		{name: "hard link to a lower layer", layers: layersIn(three, []ent{hard("t4", "t2")})},
		{name: "hard link to a lower layer, both again", layers: layersIn(three, []ent{file("t2", "new"), hard("t4", "t2")})},
		{name: "hard link over a file", layers: layersIn(three, []ent{file("f", "x"), hard("f", "t1")})},
		{name: "hard link with a leading slash", layers: layersIn([]ent{dir("a"), file("a/orig", "o"), hard("abs", "/a/orig"), hard("dot", "./a/orig")})},
		{name: "hard link through links", layers: layersIn([]ent{dir("usr/bin"), sym("bin", "usr/bin"), file("usr/bin/x", "x"), hard("bin/y", "bin/x")})},
		{name: "hard link to a symbolic link", layers: layersIn([]ent{sym("s", "nowhere"), hard("s2", "s")})},
		{name: "hard link to a fifo", layers: layersIn([]ent{node(tar.TypeFifo, "p", 0, 0), hard("p2", "p")})},
		{name: "hard link climbing out", layers: layersIn([]ent{file("a", "a"), hard("b", "../../a")})},
		{name: "hard link with other attributes", layers: layersIn([]ent{file("a", "a").mode(0o644), hard("b", "a").mode(0o600).at(day.Add(time.Hour)).attr(schily+"user.b", "1")})},
		{name: "hard link to nothing", layers: layersIn([]ent{hard("b", "nothing")}), fails: true},
		{name: "hard link to what was deleted", layers: layersIn(three, []ent{gone(".wh.t2"), hard("t5", "t2")}), fails: true},
		{name: "hard link to a folder", layers: layersIn([]ent{dir("d"), hard("b", "d")}), fails: true},
		{name: "hard link to what it replaces", layers: layersIn([]ent{dir("d"), file("d/f", "f"), hard("d", "d/f")}), fails: true},
		{name: "hard link to itself", layers: layersIn([]ent{file("a", "a"), hard("a", "a")}), fails: true},
		{name: "usr-merge, file through the link", layers: layersIn([]ent{dir("usr/bin"), file("usr/bin/sh", "sh"), sym("bin", "usr/bin")}, []ent{file("bin/new", "new")})},
		{name: "usr-merge, folder over the link", layers: layersIn([]ent{dir("usr/bin"), file("usr/bin/sh", "sh"), sym("bin", "usr/bin")}, []ent{dir("bin"), file("bin/new", "new")})},
		{name: "link to an absolute folder", layers: layersIn([]ent{dir("data"), sym("d", "/data")}, []ent{file("d/x", "x")})},
		{name: "link that climbs out", layers: layersIn([]ent{sym("out", "../../../../etc")}, []ent{file("out/passwd", "mine")})},
		{name: "links in a row", layers: layersIn([]ent{dir("r"), sym("a", "b"), sym("b", "c/.."), dir("c"), sym("c/up", "../r")}, []ent{file("a/c/up/f", "f")})},
		{name: "file through a dangling link", layers: layersIn([]ent{sym("l", "made/here")}, []ent{file("l/f", "f")})},
		{name: "file over a link", layers: layersIn([]ent{file("t", "t"), sym("l", "t")}, []ent{file("l", "mine")})},
		{name: "dangling link with many dots", layers: layersIn([]ent{sym("dangling", "../../../../up"), sym("abs", "/no/where")})},
		{name: "file below a file", layers: layersIn([]ent{file("f", "f")}, []ent{file("f/x", "x")}), fails: true},
		{name: "file through a loop", layers: layersIn([]ent{sym("l", "l"), file("l/f", "f")}), fails: true},
	}
}

func kinds() []sample {
	return []sample{
		{name: "devices", layers: layersIn([]ent{node(tar.TypeChar, "null", 1, 3), node(tar.TypeBlock, "disk", 259, 70000), node(tar.TypeFifo, "fifo", 0, 0)}), root: true},
		{name: "device replaced", layers: layersIn([]ent{node(tar.TypeChar, "null", 1, 3)}, []ent{file("null", "file")}), root: true},
		{name: "setuid, setgid, sticky", layers: layersIn([]ent{file("su", "").mode(0o4755), file("sg", "").mode(0o2711), dir("tmp").mode(0o1777), file("all", "").mode(0o7400)})},
		{name: "type bits in the mode", layers: layersIn([]ent{file("f", "").mode(0o100644), dir("d").mode(0o40755)})},
		{name: "large owners", layers: layersIn([]ent{file("f", "").owner(3000000000, 4294967294), dir("d").owner(65534, 2097152)}), root: true},
		{name: "owner of a link", layers: layersIn([]ent{sym("l", "x").owner(12, 34)}), root: true},
		{name: "setuid of another owner", layers: layersIn([]ent{file("f", "x").owner(5, 6).mode(0o6755)}), root: true},
		{name: "user attributes", layers: layersIn([]ent{file("f", "").attr(schily+"user.a", "b\x00c\xff"), dir("d").attr(schily+"user.d", "x")})},
		{name: "empty attribute", layers: layersIn([]ent{file("f", "").attr(schily+"user.a", "")}), differs: "umoci loses it, containerd and docker keep it", want: ". f"},
		{name: "file capability", layers: layersIn([]ent{file("ping", "x").attr(schily+"security.capability", capability)}), root: true},
		{name: "capability of another owner", layers: layersIn([]ent{file("ping", "x").owner(7, 7).attr(schily+"security.capability", capability)}), root: true},
		{name: "folder loses its attributes", layers: layersIn([]ent{dir("d").attr(schily+"user.a", "1")}, []ent{dir("d").attr(schily+"user.b", "2")})},
		{name: "times", layers: layersIn([]ent{file("old", "").at(time.Unix(1, 0)), file("nano", "").at(time.Unix(1e9, 123456789)), dir("d").at(time.Unix(5e8, 0)), file("d/f", ""), sym("l", "x").at(time.Unix(7e8, 0))})},
		{name: "folder's time outlives what is put in later", layers: layersIn([]ent{dir("d").at(time.Unix(5e8, 0))}, []ent{file("d/x", ""), file("d/y", "")}, []ent{gone("d/.wh.x")})},
		{name: "large file", layers: layersIn([]ent{file("big", strings.Repeat("0123456789abcdef", 1<<16)), file("zeros", strings.Repeat("\x00", 3<<20)), file("after", "x")})},
		{name: "many files", layers: layersIn(many(300), many(150))},
	}
}

func names() []sample {
	long := strings.Repeat("n", 255)
	return []sample{
		{name: "missing parents", layers: layersIn([]ent{file("a/b/c/d", "d")})},
		{name: "missing parents in a setgid folder", layers: layersIn([]ent{dir("d").mode(0o2755).owner(3, 4), file("d/e/f/g", "g")}), root: true},
		{name: "parent comes later", layers: layersIn([]ent{file("a/b", "b"), dir("a").mode(0o711)})},
		{name: "root entry", layers: layersIn([]ent{dir("./").mode(0o711), file("./f", "f")})},
		{name: "leading slash", layers: layersIn([]ent{file("/abs/f", "f"), dir("//two//slashes/")})},
		{name: "dots", layers: layersIn([]ent{file("./a/./b/../c", "c"), file("../../evil", "e"), file("x/../../../evil2", "e")})},
		{name: "names of 255 bytes", layers: layersIn([]ent{file(long, "l"), file(long+"/../"+long[:254]+"/"+long, "l"), sym("s", strings.Repeat("t/", 1000))})},
		{name: "deep path", layers: layersIn([]ent{file(strings.Repeat("d/", 300)+"f", "f")})},
		{name: "UTF-8 and other bytes", layers: layersIn([]ent{file("ü/日本", "u"), file("latin-\xfc\xff", "l"), sym("s-\xfe", "latin-\xfc\xff"), file("new\nline", "n"), file("sp ace", "s")})},
		{name: "two entries for a file", layers: layersIn([]ent{file("f", "first").mode(0o600), file("f", "second")})},
		{name: "two entries for a folder", layers: layersIn([]ent{dir("d").mode(0o700), file("d/f", "f"), dir("d").mode(0o755)})},
		{name: "folder, then a file of its name", layers: layersIn([]ent{dir("d"), file("d/f", "f"), file("d", "file")})},
		{name: "file, then a folder of its name", layers: layersIn([]ent{file("d", "file"), dir("d"), file("d/f", "f")})},
		{name: "names that look like whiteouts", layers: layersIn([]ent{file("wh.x", ""), file(".whx", ""), file("a.wh.b", "")})},
		{name: "name of 256 bytes", layers: layersIn([]ent{file(long+"n", "l")}), fails: true},
		{name: "empty layer between", layers: layersIn([]ent{file("a", "a")}, nil, []ent{file("b", "b")})},
	}
}
