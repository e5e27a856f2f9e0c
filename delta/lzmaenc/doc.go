// Package lzmaenc compresses streams to LZMA, as strongly as the format allows in reasonable time.
//
// It is made for the columns of deltas: made once, sent often, decompressed on small devices by any LZMA decoder. The
// whole dictionary is searched with binary trees, and a parser chooses by price among literals, matches and repeated
// distances, as the reference encoder does at its highest levels. Nothing rebuilds the columns of deltas, but package
// squash has frozen the bytes for blocks of up to 1 MiB: a change of these is a new encoder id there.
package lzmaenc
