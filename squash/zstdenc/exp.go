package zstdenc

import (
	"os"
	"strconv"
)

func X(name string, def int) int {
	if v, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return v
	}
	return def
}

var xPerL, xPerC, xBase, xPart = X("PL", 4), X("PC", 5), X("PB", 20), X("PP", 1024)
var xInherit = X("XI", 16)
var xSkip = X("XS", 128)
