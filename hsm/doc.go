// Package hsm encrypts small secrets with a key that never leaves a PKCS#11 token, and recovers
// from the failures of tokens, networks and vendors' libraries without a restart of the program.
//
// It guarantees:
//   - [New] does not touch the device. The first call does, so a program starts while its HSM is
//     down.
//   - The library runs in a confined child process ([Process], the default), which alone loads it
//     and keeps the login. The end of that process, by a crash or a leak, fails no call: calls are
//     retried.
//   - No call lasts longer than [Config].Deadline, even if the library never returns. A call that
//     hangs keeps one of the token's sessions until it returns. When all sessions hang, calls fail
//     at once with [ErrStuck].
//   - One goroutine at a time uses a session, and none uses it after an error that may have damaged
//     it.
//   - An error of the session or the device is retried at higher recovery levels, drawn below,
//     until the deadline. So a token that was unavailable works again with the first call after its
//     return.
//   - A PIN that the token refused is never sent again by this [Token]. Nor is a PIN sent to a
//     token with a single try left, unless [Config].FinalTry is set.
//   - Every mechanism authenticates the ciphertext together with the caller's additional data. A
//     round trip on the key proves the mechanism before its first use.
//   - A name that matches two keys or two tokens is an error. A generated key is read back and
//     checked.
//
// With [InProcess] it does not guarantee that a hanging library recovers: C_Finalize must not run
// during a call, so recovery waits for the call, or for the program, to end. A child process is
// killed instead. It does not hide the token: [ErrCorrupt] means that the token works and the data
// are damaged.
//
// # Recovery levels
//
// A call starts at level 0. An error raises the level by one, or to the level that its kind names.
// The call ends with the error when the level is exhausted or the kind allows no retry.
//
//	            any error of session or device: one level up
//	   ┌──────────┐      ┌───────────┐      ┌─────────────┐      ┌──────────────┐      ┌───────────┐
//	──▶│ 0 none   │─────▶│ 1 session │─────▶│ 2 login     │─────▶│ 3 restart    │─────▶│ exhausted │
//	   │ as it is │      │ a new one │      │ find token, │      │ C_Finalize,  │      │ returns   │
//	   └──────────┘      └───────────┘      │ C_Login     │      │ C_Initialize │      │ the error │
//	        │                               └─────────────┘      └──────────────┘      └───────────┘
//	        │   login lost, key not found        ▲                      ▲
//	        ├────────────────────────────────────┘                      │
//	        │   library not initialised, token not found                │
//	        └───────────────────────────────────────────────────────────┘
//
//	data, mechanism, permission, PIN, configuration: exhausted at once, from every level
//	success: the call ends at every level, and the next call starts at level 0
//
// Concurrent calls share one login and one restart. A restart waits for the calls inside the
// library. While a call that passed its deadline is inside, it starts a new process, or fails with
// [ErrStuck] if the library is in this one.
//
// # Keys for other formats
//
// [Key] wraps small secrets in this package's format. [DeviceKey] runs single operations on a key:
// AES-GCM, RSA decryption, RSA and ECDSA signatures, HMAC. [Token.Generate] and [Token.Import] make
// the keys.
//
// Without cgo the package compiles, and every call returns [ErrNoCgo].
package hsm
