// Package bundle holds the formats of an update: the manifest, the slot set folder it describes, and the bundle, a tar
// that carries both.
package bundle
