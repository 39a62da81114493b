//go:build scale

package scale

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/storage"
)

// tree is how many descendants the revoked token has.
const tree = 100_000

func TestTokens(t *testing.T) {
	for _, kind := range []string{"bbolt", "postgresql", "etcd"} {
		t.Run(kind, func(t *testing.T) { tokens(t, kind, wanted(t, kind)) })
	}
}

// tokens measures a store of n live tokens, of which up to 100,000 are the children of one.
func tokens(t *testing.T, kind string, n int) {
	s := newSubject(t, kind)
	var made struct {
		Auth struct {
			Token string `json:"client_token"`
		}
	}
	s.must(200, "POST", "auth/token/create", map[string]any{"policies": []string{"root"}, "ttl": "20h"}, &made)
	top := made.Auth.Token
	s.stop()
	children := min(tree, n/2)
	s.fillTokens(top, "child", children, time.Now().Add(10*time.Hour))
	s.fillTokens("", "token", n-children-1000, time.Now().Add(10*time.Hour))
	name := fmt.Sprintf("%s, %d tokens", kind, n)
	report.time(name, "start to active", s.starts(), 300*time.Millisecond)
	s.start()
	anonymous, _ := s.memory()
	report.bytes(name, "anonymous memory after the start", anonymous, 80_000_000)
	s.must(204, "PUT", "kv/one", map[string]string{"v": "x"}, nil)
	alone, each := s.reading(func() { time.Sleep(5 * time.Second) })
	report.note(name, "kv reads by 8 clients alone", "%.0f/s", alone)
	begun := time.Now()
	during, more := s.reading(func() {
		var writes []time.Duration
		for range 21 { // also connects
			writes = append(writes, s.took(204, "PUT", "kv/two", map[string]string{"v": "x"}))
		}
		report.time(name, "a kv write beside these clients", median(writes), 0)
		report.time(name, fmt.Sprintf("revoking a tree of %d: the caller waits", children),
			s.took(204, "POST", "auth/token/revoke", map[string]string{"token": top}), 5*time.Millisecond)
		begun = time.Now()
		for i := 0; i < children; i += children / 50 {
			r, err := s.Do(t.Context(), "GET", "auth/token/lookup-self", fmt.Sprint("child", i), nil)
			if err != nil || r.Code != 403 {
				t.Errorf("a child of a revoked token: %d %s, %v", r.Code, r.Body, err)
			}
		}
		for !strings.Contains(s.Log(), "the entries of revoked tokens are removed") {
			if time.Since(begun) > 10*time.Minute {
				t.Fatal("the removal does not end")
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	report.time(name, "removing the tree", time.Since(begun), 20*time.Second)
	report.ratio(name, "kv reads during that to those alone", during/alone, 0.8)
	report.ratio(name, "processor time of a read alone to that with the removal", float64(each)/float64(more), 0.8)
	s.stop()
}

// fillTokens adds tokens to the storage of a stopped server.
func (s *subject) fillTokens(parent, name string, n int, ends time.Time) {
	s.t.Helper()
	store, b := s.unseal()
	defer s.closed(store, b)
	tokens, err := token.Open(s.t.Context(), b, token.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	err = tokens.Fill(s.t.Context(), parent, name, n, ends, func(n int, op func(i int) storage.Op) error {
		return inBatches(s.t.Context(), b, n, op)
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// reading reads an entry from 8 clients until f returns. It returns how many a second, and how much
// processor time of the server each of them took, with all else that the server did.
func (s *subject) reading(f func()) (rate float64, each time.Duration) {
	s.t.Helper()
	var wg sync.WaitGroup
	var done atomic.Bool
	var n atomic.Int64
	begun, used := time.Now(), s.cpu()
	for range 8 {
		wg.Go(func() {
			for !done.Load() {
				if r, err := s.Do(s.t.Context(), "GET", "kv/one", s.root, nil); err != nil || r.Code != 200 {
					s.t.Errorf("reading: %d %s, %v", r.Code, r.Body, err)
					return
				}
				n.Add(1)
			}
		})
	}
	f()
	rate = float64(n.Load()) / time.Since(begun).Seconds()
	each = (s.cpu() - used) / time.Duration(max(1, n.Load()))
	done.Store(true)
	wg.Wait()
	return rate, each
}
