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

// end returns how f ends a test, "" if it does not.
func end(t *testing.T, f func(t testing.TB)) string {
	r := &recorder{TB: t}
	func() {
		defer func() { _ = recover() }()
		f(r)
	}()
	return r.ended
}

// TestRequire: a test whose program is missing fails, in CI and elsewhere.
func TestRequire(t *testing.T) {
	for _, ci := range []string{"", "true"} {
		t.Setenv("CI", ci)
		got := end(t, func(t testing.TB) { Require(t, "no-such-program") })
		want := "failed: no-such-program is not installed: .ci/setup test installs what the tests need"
		if got != want {
			t.Errorf("CI=%q: %s; want %s", ci, got, want)
		}
		if got := end(t, func(t testing.TB) { Require(t, "go") }); got != "" {
			t.Errorf("CI=%q: a program that exists: %s", ci, got)
		}
	}
}

func TestMissing(t *testing.T) {
	for ci, want := range map[string]string{"": "skipped: no root", "true": "failed: cannot run in CI: no root"} {
		t.Setenv("CI", ci)
		if got := end(t, func(t testing.TB) { Missing(t, "no %s", "root") }); got != want {
			t.Errorf("CI=%q: %s; want %s", ci, got, want)
		}
	}
}
