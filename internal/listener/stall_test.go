package listener

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"
)

// TestClientsThatDoNotRead: a write ends where the client takes nothing for a while, and not where
// it takes all, however long that takes.
func TestClientsThatDoNotRead(t *testing.T) {
	t.Parallel()
	large := make([]byte, 32<<20) // more than the buffers of a connection
	c, _ := pair(t)
	c.writing.stall = 300 * time.Millisecond
	if n, err := c.Write(large); !errors.Is(err, os.ErrDeadlineExceeded) || n == len(large) {
		t.Errorf("nothing is read: %d bytes, %v", n, err)
	}

	c, client := pair(t)
	c.writing.stall = time.Minute
	read := make(chan []byte, 1)
	go func() {
		all, _ := io.ReadAll(client)
		read <- all
	}()
	large[len(large)-1] = 1
	if n, err := c.Write(large); err != nil || n != len(large) {
		t.Errorf("all is read: %d bytes, %v", n, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(<-read, large) {
		t.Error("what was read differs")
	}
}

// TestWriteDeadlines: the deadline of the server holds where it is earlier, and lifting it leaves
// that of the connection.
func TestWriteDeadlines(t *testing.T) {
	t.Parallel()
	large := make([]byte, 32<<20)
	c, _ := pair(t)
	c.writing.stall = time.Hour
	if err := c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(large); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("past the server's deadline: %v", err)
	}
	c, _ = pair(t)
	c.writing.stall = 50 * time.Millisecond
	for _, at := range []time.Time{time.Now().Add(time.Hour), {}} {
		if err := c.SetWriteDeadline(at); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(large); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("with a deadline of %v: %v", at, err)
		}
	}
	c, client := pair(t) // a connection that idled past its deadline writes again
	c.writing.timer = time.Now().Add(-time.Second)
	if err := c.Conn.SetWriteDeadline(c.writing.timer); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("x")); err != nil {
		t.Errorf("after a while: %v", err)
	}
	if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

// TestStreamsThatAreStopped: a client of HTTP/2 that lets a stream stand keeps no handler.
func TestStreamsThatAreStopped(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := w.Write(make([]byte, 8<<20))
		ended <- err
	}))
	s.Config.Handler = boundedBy(s.Config.Handler, 300*time.Millisecond)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	var client http.Client
	client.Transport = &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}}
	r, err := client.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.ProtoMajor != 2 {
		t.Fatalf("%s", r.Proto)
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the whole answer was written, and nothing of it was read")
		}
	case <-time.After(60 * time.Second):
		t.Error("the handler waits for a client that reads nothing")
	}
}
