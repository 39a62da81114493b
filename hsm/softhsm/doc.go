// Package softhsm creates throw-away SoftHSM tokens for tests and trials.
//
// In a Go test:
//
//	tok := softhsm.New(t)
//	key := tok.Key(t, hsm.AES256, "wrap")
//	// open tok.Lib, token label tok.Label, PIN tok.PIN, with any PKCS#11 code
//
// In a program, [Init] creates a token in a folder that remains.
//
// It guarantees that a token has its own random label and PINs, that the user's own SoftHSM is
// neither read nor changed, and that a token of [New] is deleted when its test ends. Many tokens
// may be in use at once, in parallel tests: SoftHSM has one configuration per process
// (SOFTHSM2_CONF, which New sets), so the tokens of New share one token folder, in which each has
// its own.
//
// It protects nothing: PINs are plain strings, and Init passes them on a command line. Package
// testing is not imported, so a program that uses Init does not link it.
package softhsm
