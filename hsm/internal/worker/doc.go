// Package worker runs a PKCS#11 library in a child process: the same executable, started again,
// which alone loads the library and keeps the login.
//
// [New] returns a cryptoki.Library whose calls run in the child. It guarantees:
//   - the parent loads no vendor code, and a crash, a hang or a leak of the library ends the child
//     only;
//   - a call ends by [Config].Deadline: a child that does not answer is killed;
//   - the PIN is in a sealed memory file outside the parent's address space (Linux), or in a buffer
//     that is wiped (elsewhere), and no call carries it;
//   - the next C_Initialize starts a new child. After repeated failures it waits, from 100 ms to 10
//     s;
//   - the parent does not trust the child: it bounds and checks every response.
//
// The child is confined before it loads the library. It makes no core dumps, is not dumpable, gains
// no privileges, cannot execute programs, trace processes or load kernel code (seccomp), has a
// memory limit, and gets no environment variable that looks like a credential. Without
// [Config].Network it has no sockets but Unix sockets. With [Config].Paths it writes only there,
// and reads only there and in system folders (Landlock). Seccomp and Landlock need Linux; what is
// configured and missing is an error.
//
// The child ends when its end of the socket closes, so it never survives its parent.
//
// # Frames
//
// Parent and child exchange frames on one socket pair, numbers little-endian:
//
//	request:   length u32 | call u32 | operation u8 | arguments
//	response:  length u32 | call u32 | status u8 | by status: 0 result, 1 CKR u64, 2 kind u8, text
//
// A session has its own call number, because it runs one call at a time. Writers combine the frames
// of concurrent calls into one write.
//
// On Linux, frames also travel through memory that both share, while the receiver polls it: short
// calls in succession then need no system call and no change of threads. The parent polls for at
// most 100 µs without a response, then uses the socket for 10 ms; the child polls for 50 µs after
// its last short call.
//
// # Start
//
// The package's initialisation turns a process with the environment variable SEALGATE_HSM_WORKER
// into a worker: it serves the socket on descriptor 3 and exits before main runs.
package worker
