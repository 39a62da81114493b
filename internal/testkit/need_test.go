package testkit

import (
	"fmt"
	"testing"
)

// recorder is a testing.TB that records how a helper ends the test.
type recorder struct {
	testing.TB
	ended string
}

func (r *recorder) Helper() {}

func (r *recorder) Skipf(format string, args ...any) {
	r.ended = "skipped: " + fmt.Sprintf(format, args...)
	panic(r)
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.ended = "failed: " + fmt.Sprintf(format, args...)
	panic(r)
}

func TestRequire(t *testing.T) {
	end := func(program string) string {
		r := &recorder{TB: t}
		func() {
			defer func() { _ = recover() }()
			Require(r, program)
		}()
		return r.ended
	}
	const absent = "no-such-program"
	for ci, want := range map[string]string{
		"":     "skipped: " + absent + " is not installed",
		"true": "failed: cannot run in CI: " + absent + " is not installed",
	} {
		t.Setenv("CI", ci)
		if got := end(absent); got != want {
			t.Errorf("CI=%q: %s; want %s", ci, got, want)
		}
		if got := end("go"); got != "" {
			t.Errorf("CI=%q: a program that exists: %s", ci, got)
		}
	}
}
