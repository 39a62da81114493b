package chaos

import (
	"fmt"
	"testing"

	"github.com/anishathalye/porcupine"
)

// A register is one secret of key-value version 2: a version that counts writes from 0, and a
// value. Clients read it, and set it on the condition that its version is what they saw.
type register struct {
	version int
	value   string
}

type input struct {
	key   string
	write bool
	cas   int    // of a write: the version that must be there
	value string // of a write; no two are the same
}

// outcome is the answer that the client got. A history leaves out failed reads.
type outcome struct {
	unknown  bool // of a write: it may or may not take effect, now or later
	conflict bool // of a write: another version was there
	register      // of a read: what was there
}

// model says what a register does. A write of unknown outcome is an operation without end: where it
// had no effect it comes behind all others.
var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range history {
			key := op.Input.(input).key
			byKey[key] = append(byKey[key], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return register{} },
	Step: func(state, in, out any) (bool, any) {
		r, i, o := state.(register), in.(input), out.(outcome)
		switch fits := i.cas == r.version; {
		case !i.write:
			return o.register == r, r
		case o.unknown && !fits:
			return true, r
		case o.conflict:
			return !fits, r
		default:
			return fits, register{i.cas + 1, i.value}
		}
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
}

// TestModel: the judge itself is judged. Each history that is wrong is one that a broken cluster
// would give.
func TestModel(t *testing.T) {
	t.Parallel()
	write := func(call, end int64, cas int, value string, o outcome) porcupine.Operation {
		return porcupine.Operation{Input: input{"k", true, cas, value}, Call: call, Output: o, Return: end}
	}
	read := func(call, end int64, version int, value string) porcupine.Operation {
		return porcupine.Operation{Input: input{key: "k"}, Call: call, Output: outcome{register: register{version, value}},
			Return: end}
	}
	done, conflict, unknown := outcome{}, outcome{conflict: true}, outcome{unknown: true}
	const never = int64(1) << 60
	for name, c := range map[string]struct {
		history []porcupine.Operation
		sound   bool
	}{
		"in order": {[]porcupine.Operation{write(0, 1, 0, "a", done), read(2, 3, 1, "a"),
			write(4, 5, 1, "b", done), read(6, 7, 2, "b")}, true},
		"a lost write": {[]porcupine.Operation{write(0, 1, 0, "a", done), read(2, 3, 0, "")}, false},
		"a stale read": {[]porcupine.Operation{write(0, 1, 0, "a", done), write(2, 3, 1, "b", done),
			read(4, 5, 1, "a")}, false},
		"two of one version":    {[]porcupine.Operation{write(0, 1, 0, "a", done), write(2, 3, 0, "b", done)}, false},
		"a conflict for nought": {[]porcupine.Operation{write(0, 1, 0, "a", conflict)}, false},
		"a conflict":            {[]porcupine.Operation{write(0, 5, 0, "a", done), write(1, 4, 0, "b", conflict)}, true},
		"unknown, and not done": {[]porcupine.Operation{write(0, never, 0, "a", unknown), read(2, 3, 0, "")}, true},
		"unknown, and done":     {[]porcupine.Operation{write(0, never, 0, "a", unknown), read(2, 3, 1, "a")}, true},
		"unknown, done, undone": {[]porcupine.Operation{write(0, never, 0, "a", unknown), read(2, 3, 1, "a"),
			read(4, 5, 0, "")}, false},
	} {
		if got := porcupine.CheckOperations(model, c.history); got != c.sound {
			t.Errorf("%s: judged %v, want %v", name, got, c.sound)
		}
	}
}
