package ocikms

import (
	"fmt"
	"testing"

	"github.com/sealgate/sealgate/seals/sealtest"
)

// BenchmarkWrapUnwrap compares the seal with HashiCorp's bare wrapper, alternately in the same
// run, on the emulator. Of the seal's calls 4 are under way at once; the wrapper's make connections
// again, because its library keeps two.
func BenchmarkWrapUnwrap(b *testing.B) {
	s := newEmulator(b)
	seal := open(b, s, wrapKey)
	inner, err := seal.settings.open(b.Context())
	must(b, err)
	bare := sealtest.RoundTrip(b, inner)
	for _, workers := range []int{1, 16} {
		b.Run(fmt.Sprintf("goroutines=%d", workers), func(b *testing.B) {
			sealtest.Compare(b, workers,
				sealtest.RoundTrip(b, seal), bare)
		})
	}
}
