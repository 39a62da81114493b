// Package cryptoki is the floor under package hsm: the calls of a PKCS#11 library,
// and the one thing about them that belongs to the whole process.
//
// [Library] and [Session] are the seam between policy (pools, deadlines, recovery: package hsm)
// and the C library. Their arguments and results are plain values, without callbacks or shared memory, so that
// the library can be moved into a child process behind the same two interfaces. A test puts a
// library of its own there.
//
// C_Initialize and C_Finalize act on the process, not on their caller. A [Module] is
// therefore shared by all who open the same file ([Acquire]), and it guarantees that the library is
// never finalized while a call is inside it, that many who ask for a restart at once
// get one, and that a session of before a restart is never used after it, not even
// when its number is given out again.
//
// It does not guarantee that a call returns: that is the caller's to watch. A call
// that its caller gave up ([Module.Abandon]) forbids restarts until it comes back.
//
// A build without cgo, or for Windows, has the types and no library: [Load] returns [ErrNoCgo].
package cryptoki
