// Package softhsm makes throw-away SoftHSM tokens, for tests and for trying things out.
//
// In a Go test:
//
//	tok := softhsm.New(t)
//	key := tok.Key(t, hsm.AES256, "wrap")
//	// open tok.Lib, token label tok.Label, PIN tok.PIN, with any PKCS#11 code
//
// From a program, [Init] makes one in a directory that stays.
//
// It guarantees that a token has its own random label and PINs, that nothing of the user's own SoftHSM is
// read or written, and that a token made by New is deleted when its test ends. Many tokens may be in use at once, in parallel
// tests: SoftHSM knows one configuration per process (SOFTHSM2_CONF, which New sets), so the tokens
// of New share one token folder, in which each has its own.
//
// It does not protect anything: PINs are plain strings here, and Init passes them on a command line. Package testing is
// not imported, so a program that uses Init does not link it.
package softhsm
