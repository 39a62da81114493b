package alicloudkms

import (
	"fmt"
	"testing"

	"github.com/sealgate/sealgate/seals/sealtest"
)

// BenchmarkWrapUnwrap compares the seal with HashiCorp's bare wrapper, an instance for each
// goroutine, by turns in the same run, on the emulator. Beyond 8 goroutines the seal's calls wait
// for each other.
func BenchmarkWrapUnwrap(b *testing.B) {
	s := newEmulator(b)
	seal := open(b, s, "key-wrap")
	for _, workers := range []int{1, 16} {
		b.Run(fmt.Sprintf("goroutines=%d", workers), func(b *testing.B) {
			bare := make([]func(int) error, workers)
			for i := range bare {
				inner, err := seal.open(b.Context())
				must(b, err)
				bare[i] = sealtest.RoundTrip(b, inner)
			}
			sealtest.Compare(b, workers, sealtest.RoundTrip(b, seal), func(i int) error { return bare[i](i) })
		})
	}
}
