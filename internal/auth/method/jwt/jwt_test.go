package jwt

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

const public = `-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----`

// FuzzLogin: whatever is sent as a token, the answer is a refusal, and nothing panics.
func FuzzLogin(f *testing.F) {
	store := inmem.New()
	f.Cleanup(func() {
		if err := store.Close(); err != nil {
			f.Error(err)
		}
	})
	backend, err := Factory(method.Options{Now: func() time.Time { return now }})(store, mount.Entry{})
	if err != nil {
		f.Fatal(err)
	}
	for path, data := range map[string]map[string]any{
		"config": {"jwt_validation_pubkeys": public}, "role/a": {"user_claim": "sub", "bound_subject": "x"},
	} {
		if _, err := backend.Handle(context.Background(), &mount.Request{Operation: mount.Update, Path: path,
			Data: data}); err != nil {
			f.Fatal(err)
		}
	}
	for _, seed := range []string{
		"", ".", "..", "e30.e30.e30", "eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJIUzI1NiJ9.e30.AAAA", `{"payload":"e30"}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		a, err := backend.Handle(t.Context(), &mount.Request{Operation: mount.Update, Path: "login",
			Data: map[string]any{"role": "a", "jwt": token}})
		if a != nil || !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %+v, %v", token, a, err)
		}
	})
}

// FuzzClaims: whatever claims a signed token has, the answer is a refusal or a text, and nothing
// panics.
func FuzzClaims(f *testing.F) {
	f.Add(`{"sub":"x","exp":9999999999,"aud":["a"],"n":{"/":1}}`)
	f.Add(`{"exp":1e300,"iat":-1e300}`)
	x := &role{UserClaim: "/sub", UserPointer: true, Claims: map[string][]string{"/n/~1": {"1"}}, Globs: true,
		Audiences: []string{"a"}}
	f.Fuzz(func(t *testing.T, text string) {
		var claims map[string]any
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		if d.Decode(&claims) != nil {
			return
		}
		if err := x.admit(&settings{}, claims, now); err != nil && !fault.Is(err, fault.Invalid) {
			t.Error(err)
		}
		if user, _, err := x.describe("r", claims); err == nil && user == "" {
			t.Error("the other caller did not finish")
		}
	})
}

// TestFetcherIsPatient: keys that were fetched outlive their source for an hour, and no longer.
func TestFetcherIsPatient(t *testing.T) {
	t.Parallel()
	f := newFetcher("http://127.0.0.1:1/", &settings{})
	if _, err := f.get(t.Context(), "", now); !fault.Is(err, fault.Unavailable) {
		t.Errorf("no source: %v", err)
	}
	if _, err := f.get(t.Context(), "", now.Add(time.Second)); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a moment later: %v", err)
	}
	f.keys, f.fetched = &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{KeyID: "k"}}}, now
	for after, want := range map[time.Duration]bool{time.Minute: true, usableFor - 1: true, usableFor: false} {
		if keys, err := f.get(t.Context(), "k", now.Add(after)); (err == nil) != want || (len(keys) == 1) != want {
			t.Errorf("%s after the keys were fetched: %v, %v", after, keys, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	f.busy <- struct{}{}
	cancel()
	if _, err := f.get(ctx, "unknown", now); !errors.Is(err, context.Canceled) {
		t.Errorf("during a fetch: %v", err)
	}
}

// TestClientsDoNotStopTheFetch: a client whose token names an unknown key keeps nobody out, neither
// by closing its connection nor while the source of the keys hangs.
func TestClientsDoNotStopTheFetch(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}), make(chan struct{})
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-answer:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k",
			"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`)
	}))
	t.Cleanup(source.Close)
	f := newFetcher(source.URL, &settings{})
	unknown := func(ctx context.Context, at time.Time) <-chan error {
		done := make(chan error, 1)
		go func() {
			_, err := f.get(ctx, "unknown", at)
			done <- err
		}()
		<-asked
		return done
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := unknown(ctx, now)
	cancel()
	answer <- struct{}{}
	<-done
	if keys, err := f.get(t.Context(), "k", now.Add(time.Second)); err != nil || len(keys) != 1 {
		t.Fatalf("after a client that closed its connection: %v, %v", keys, err)
	}
	done = unknown(t.Context(), now.Add(time.Minute)) // and the source hangs
	soon, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if keys, err := f.get(soon, "k", now.Add(time.Minute)); err != nil || len(keys) != 1 {
		t.Errorf("during a fetch for another client: %v, %v", keys, err)
	}
	close(answer)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

var _ mount.Storage = storage.Store(nil)
