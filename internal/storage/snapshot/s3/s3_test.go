//go:build unix

package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/internal/storage/snapshot/target"
	"github.com/sealgate/sealgate/internal/testkit/localstack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(localstack.Main(m)) }

const (
	theID     = "MARKaccessKeyID"
	theSecret = "MARKsecretAccessKey"
)

func options(url string) Options {
	return Options{Bucket: "backups", Prefix: "sealgate/", Region: localstack.Region, Endpoint: url, PathStyle: true,
		Keys: func() (Keys, error) { return Keys{ID: theID, Secret: theSecret}, nil }}
}

func open(t *testing.T, o Options) target.Target {
	t.Helper()
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(ctx context.Context, b target.Target, name string, content []byte) error {
	o, err := b.Create(ctx, name)
	if err != nil {
		return err
	}
	if _, err := o.Write(content); err != nil {
		o.Abort()
		return err
	}
	return o.Commit()
}

func get(ctx context.Context, b target.Target, name string) ([]byte, error) {
	r, err := b.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// TestBucket keeps objects of one and of several parts in LocalStack.
func TestBucket(t *testing.T) {
	s := localstack.WithS3(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.URL+"/backups", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != http.StatusOK {
		t.Fatalf("making the bucket: %s", resp.Status)
	}
	http.DefaultClient.CloseIdleConnections()
	o := options(s.URL)
	o.PartSize = minPart
	b, ctx := open(t, o), t.Context()
	large := make([]byte, 2*minPart+12345)
	_, _ = rand.Read(large)
	for name, content := range map[string][]byte{"a-1": []byte("small"), "a-2": large, "a-3": large[:minPart], "b-1": {}} {
		if err := put(ctx, b, name, content); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, err := get(ctx, b, name); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(content), err)
		}
	}
	aborted, err := b.Create(ctx, "a-4")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := aborted.Write(large); err != nil {
		t.Fatal(err)
	}
	aborted.Abort()
	if names, err := b.List(ctx, "a-"); err != nil || !slices.Equal(names, []string{"a-1", "a-2", "a-3"}) {
		t.Errorf("it lists %q, %v", names, err)
	}
	if err := errors.Join(b.Remove(ctx, "a-2"), b.Remove(ctx, "a-2")); err != nil {
		t.Error(err)
	}
	if _, err := get(ctx, b, "a-2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a removed one: %v", err)
	}
	o.Bucket = "none-such"
	if err := put(ctx, open(t, o), "a", nil); err == nil || !strings.Contains(err.Error(), "create the bucket") {
		t.Errorf("without a bucket: %v", err)
	}
}

// TestHostileService: a service that redirects, stalls, lies about lengths or refuses ends each
// call with an error in bounded time, and no error shows a key or what the service said.
func TestHostileService(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a redirect was followed")
	}))
	t.Cleanup(elsewhere.Close)
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request, release <-chan struct{})
		want   string
	}{
		"a redirect": {func(w http.ResponseWriter, r *http.Request, _ <-chan struct{}) {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
		}, "redirects (status 307)"},
		"no answer": {func(_ http.ResponseWriter, _ *http.Request, release <-chan struct{}) {
			<-release
		}, "did not respond in time"},
		"a drip": {func(w http.ResponseWriter, _ *http.Request, release <-chan struct{}) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("x"))
			_ = http.NewResponseController(w).Flush()
			<-release
		}, ""},
		"cut content": {func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("x"))
		}, ""},
		"a refusal": {func(w http.ResponseWriter, r *http.Request, _ <-chan struct{}) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, "<Error><Code>SignatureDoesNotMatch</Code><Message>MARK %s</Message></Error>",
				r.Header.Get("Authorization"))
		}, "correct secret_key"},
		"noise": {func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
			w.WriteHeader(http.StatusTeapot)
			_, _ = w.Write(bytes.Repeat([]byte("MARK\n"), 1000))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			release := make(chan struct{})
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.answer(w, r, release) }))
			defer s.Close()
			defer close(release)
			o := options(s.URL)
			if name == "no answer" || name == "a drip" {
				o.Call, o.Stall = 200*time.Millisecond, 200*time.Millisecond
			}
			b, ctx := open(t, o), t.Context()
			for call, f := range map[string]func() error{
				"get":    func() error { _, err := get(ctx, b, "a"); return err },
				"put":    func() error { return put(ctx, b, "a", []byte("content")) },
				"list":   func() error { _, err := b.List(ctx, "a"); return err },
				"remove": func() error { return b.Remove(ctx, "a") },
			} {
				err := f()
				if (c.want != "" || call == "get") && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("%s: %v; want %q", call, err, c.want)
				}
				if err != nil && (strings.Contains(err.Error(), "MARK") || len(err.Error()) > 500) {
					t.Errorf("%s shows what it must not: %v", call, err)
				}
			}
		})
	}
}
