package transit

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// TestConcurrency encrypts and decrypts while the key gets versions, is trimmed, leaves
// the cache and is restored: what one request has encrypted another decrypts, unless the version is
// gone.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.must("POST", "cache-config", `{"size":10}`)
	for i := range 12 {
		e.must("POST", fmt.Sprintf("keys/other%d", i), "")
	}
	e.must("POST", "keys/k", `{"derived":true,"exportable":true,"allow_plaintext_backup":true}`)
	var workers, changes sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		workers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				a := e.do("POST", "encrypt/k", `{"plaintext":"aGVsbG8=","context":"YQ=="}`)
				if a.status != 200 {
					t.Errorf("encrypt: %+v", a)
					return
				}
				c := strings.Split(a.body, `"`)[3]
				a = e.do("POST", "decrypt/k", body("ciphertext", c, "context", "YQ=="))
				gone := strings.Contains(a.body, "too old") || strings.Contains(a.body, "version does not exist")
				if a.body != `{"plaintext":"aGVsbG8="}` && !gone {
					t.Errorf("decrypt of %s: %+v", c, a)
					return
				}
				e.do("GET", fmt.Sprintf("keys/other%d", rand.IntN(12)), "")
			}
		})
	}
	changes.Go(func() {
		for n := 2; n < 40; n++ {
			e.must("POST", "keys/k/rotate", "")
			e.must("POST", "keys/k/config", body("min_decryption_version", n-1, "min_encryption_version", n-1))
			e.must("POST", "keys/k/trim", body("min_available_version", n-1))
		}
	})
	changes.Go(func() {
		for range 20 {
			backup := e.get("backup", "GET", "backup/k", "")
			e.must("POST", "restore/copy", body("backup", backup, "force", true))
			if err := e.Maintain(t.Context()); err != nil {
				t.Error(err)
			}
			if err := e.Tick(t.Context()); err != nil {
				t.Error(err)
			}
			e.Invalidate("k/k")
		}
	})
	changes.Wait()
	close(stop)
	workers.Wait()
	if err := e.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkLeftovers(t, e)
}
