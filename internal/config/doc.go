// Package config reads the server's configuration. It accepts the HCL and JSON files of Vault and
// OpenBao servers unchanged.
//
// It guarantees:
//   - an unknown key is an error with file, line and the nearest known key;
//   - a key that Vault or OpenBao has and Sealgate does not is accepted with a [Note] that start-up
//     prints, or refused if ignoring it would weaken protection (the tables are in known.go);
//   - all errors are reported at once;
//   - no error, note or print of a [Config] shows a value, because any value may be a secret: only
//     keys, block types and positions.
//
// It does not check that files exist, addresses are free or seals work: the users of each stanza do
// so at start, and report its position. Seal parameters "env://X" and "file://P" are passed on as
// written.
package config
