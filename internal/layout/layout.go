// Package layout holds the rules of the code's structure as tests: which package may import which,
// that every package says what it promises, and what must never be linked into the program. It
// contains no code.
package layout
