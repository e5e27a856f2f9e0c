// Package gzipenc makes the deflate streams that GNU gzip makes at its highest level, bit for bit.
//
// Distributions compress their manual pages, changelogs and documents by gzip -9n. A delta that looks inside them patches
// the text and then has to give back the compressed file as it was: the same matches, the same ends of blocks, the same
// Huffman codes. RFC 1951 leaves all of these to the compressor; what gzip 1.12 chooses is known from its behaviour, and
// the tests compare with the program itself.
//
// The bytes must never change: deltas that are out there depend on them.
package gzipenc
