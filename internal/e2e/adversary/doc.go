// Package adversary attacks the real program. Each test takes one attacker of the threat model and
// one goal, and asserts the outcome. Attackers act as they would: by HTTP, by editing the bytes of
// a real etcd or of a bbolt file, by reading files. The package contains only tests.
//
// The table attacker x goal x outcome is internal/THREATS.md; each row names its tests.
package adversary
