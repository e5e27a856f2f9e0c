// Package match finds where the bytes at each position of an input have stood before.
//
// It is what the encoders of blocks share: the whole input lies in memory, framed so that words can be read anywhere, and
// a Finder lists for each position the matches that a parser then chooses from. Everything is integers and fixed order, so
// that every machine lists the same. What is listed decides about the bytes of images and deltas: a change here is a new ID
// of every encoder that uses it, and the digests in their tests tell.
package match
