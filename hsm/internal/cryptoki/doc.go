// Package cryptoki calls a PKCS#11 library and guards what belongs to the whole process:
// initialisation, login and restart.
//
// [Library] and [Session] separate policy (pools, deadlines, recovery: package hsm) from the C
// library. Their arguments and results are plain values, without callbacks or shared memory, so the
// library can run in a child process behind the same two interfaces. Tests provide their own.
//
// C_Initialize and C_Finalize act on the process, not on their caller. All users of one file
// therefore share a [Module] ([Acquire]). A Module guarantees that
//   - the library is never finalized while a call is inside it;
//   - callers that ask for a restart at the same time share one restart;
//   - a session opened before a restart is never used after it, even if its number is issued again.
//
// It does not guarantee that a call returns: the caller keeps the deadline. A call that its caller
// abandoned ([Module.Abandon]) prevents restarts until it returns.
//
// A build without cgo, or for Windows, has the types and no library: [Load] returns [ErrNoCgo].
package cryptoki
