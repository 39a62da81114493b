package testkit

import "testing"

// AtLeast reports a figure of a benchmark beside its target, which is a lower bound. `make bench`
// repeats all these lines at its end. A target that is missed fails nothing: machines differ.
func AtLeast(b testing.TB, what string, got, want float64) {
	b.Helper()
	target(b, what, got, "at least", want, got >= want)
}

// AtMost is AtLeast for an upper bound.
func AtMost(b testing.TB, what string, got, want float64) {
	b.Helper()
	target(b, what, got, "at most", want, got <= want)
}

func target(b testing.TB, what string, got float64, bound string, want float64, met bool) {
	b.Helper()
	word := "met"
	if !met {
		word = "missed"
	}
	b.Logf("target %s: %s: %.2f, %s %.2f", word, what, got, bound, want)
}
