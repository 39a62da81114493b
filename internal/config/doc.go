// Package config reads the server's configuration: the HCL and JSON files that
// Vault and OpenBao servers are started with, as they are.
//
// It guarantees that a key it does not know is an error with file, line and
// the nearest known key; that a key which other servers know and this one does
// not need is either accepted, with a [Note] that start-up prints, or
// refused, where ignoring it would protect less than was asked for (the
// tables are in known.go); that all mistakes are reported at once; and that no error, note or print of
// a [Config] shows a value, since any value may be a secret: only keys, block types and positions.
//
// It does not guarantee that files exist, addresses are free, or seals work: those are met at start, by
// what uses them, with the position that each stanza carries. Parameters "env://X" and "file://P" of seals are handed on as written.
package config
