package ocikms

import (
	"fmt"
	"testing"

	"github.com/sealgate/sealgate/seals/sealtest"
)

// BenchmarkWrapUnwrap compares the seal with HashiCorp's wrapper by itself, by turns in the same run, on the stand-in. The library keeps two
// connections open: among 16 goroutines most calls make a new one, on both sides, but no more than 8 of the seal's are under way.
func BenchmarkWrapUnwrap(b *testing.B) {
	s := newStandin(b)
	seal := open(b, s, wrapKey)
	inner, err := seal.settings.open(b.Context())
	must(b, err)
	bare := sealtest.RoundTrip(b, inner)
	for _, workers := range []int{1, 16} {
		b.Run(fmt.Sprintf("goroutines=%d", workers), func(b *testing.B) { sealtest.Compare(b, workers, sealtest.RoundTrip(b, seal), bare) })
	}
}
