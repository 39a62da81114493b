// Package hsm encrypts small secrets with a key that never leaves a PKCS#11 token, and keeps doing so
// through what tokens, networks and vendors' libraries do over months.
//
// It guarantees:
//   - [New] touches nothing. The device is met at first use, so a program starts while its HSM is away.
//   - No call lasts longer than [Config].Deadline, even if the library never returns. The call that hangs keeps
//     one of the token's sessions until it does return; when all are taken so, calls fail at once with [ErrStuck].
//   - No session is used by two goroutines, and none after an error that may have damaged it.
//   - After an error of session or device a call climbs a ladder before it fails: a new session; the token
//     looked for again by label and serial, with a new log-in; the library finalized and initialised. So a token
//     that was away works again with the first call after its return. A key is called missing only at the end of the ladder.
//   - A PIN that the token refused is never sent again by this [Token]; neither is one when the token has a single try left.
//   - Every ciphertext is authenticated together with the caller's additional data, on every mechanism. The mechanism
//     is one that was tried on that key with a round trip.
//   - A name that fits two keys or two tokens is an error, and a generated key is read back and checked.
//
// It does not guarantee that a hanging library can be brought back: C_Finalize must not run over a call, so that needs
// the call to end, or the process. Nor does it hide the token: [ErrCorrupt] means that the token works, the data do not.
//
// Without cgo everything compiles, and what would load a library returns [ErrNoCgo].
package hsm
