// Package adversary attacks the real program: each test takes one attacker of the threat model, one
// goal, and asserts the outcome. Attackers act as they would: by HTTP, by editing the bytes of a real
// etcd or of a bbolt file, by reading files. The package has no code besides its tests.
//
// The table attacker x goal x outcome is internal/THREATS.md; each row names its tests.
package adversary
