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

var xPart = X("PP", 1024)
var xInherit = X("XI", 12)
var xSkip = X("XS", 256)
var xStep = X("ST", 2048)
var xW = X("W", 4)
var xD = X("D", 8)
var xLZ = X("LZ", 8192)
var xR = X("R", 0)
var xRL = X("RL", 8192)
