//go:build !goexperiment.runtimesecret

package secret

// Erases reports whether this program was built so that [Do] erases.
const Erases = false

// Do calls f. In a program that is built with GOEXPERIMENT=runtimesecret, the
// registers and the stack that f used are erased before Do returns, and what f allocated is erased
// when the garbage collector frees it (package runtime/secret; Linux on amd64 and arm64).
// Goroutines that f starts are not included. In other programs Do only calls f.
func Do(f func()) { f() }
