//go:build unix

package kmip

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sealgate/sealgate/internal/testkit/ports"
	"github.com/sealgate/sealgate/internal/testkit/pykmip"
)

// front is a proxy between a seal and the real server that sees the messages, with faults on
// demand.
type front struct {
	addr   string
	server *tls.Config
	dial   func() (net.Conn, error)
	calls  atomic.Int64
	done   sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	hang     chan struct{} // not nil: requests wait until it is closed
	change   func(request, answer *item)
}

func newFront(t testing.TB, s *pykmip.Server) *front {
	t.Helper()
	load := func(cert, key string) tls.Certificate {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	ca, err := os.ReadFile(s.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := &tls.Config{Certificates: []tls.Certificate{load(s.ClientCert, s.ClientKey)}, RootCAs: pool}
	addr, err := ports.Addr()
	if err != nil {
		t.Fatal(err)
	}
	f := &front{
		addr: addr, conns: map[net.Conn]bool{},
		server: &tls.Config{Certificates: []tls.Certificate{load(s.ServerCert, s.ServerKey)}, ClientCAs: pool,
			ClientAuth: tls.RequireAndVerifyClientCert},
		dial: func() (net.Conn, error) { return tls.Dial("tcp", s.Addr, client) },
	}
	f.listen(t)
	t.Cleanup(func() {
		f.stop()
		f.done.Wait()
	})
	return f
}

// listen takes connections, at the address of before.
func (f *front) listen(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.listener, f.addr = l, l.Addr().String()
	f.mu.Unlock()
	f.done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.keep(c, true)
			f.done.Go(func() { f.serve(tls.Server(c, f.server)); f.keep(c, false) })
		}
	})
}

func (f *front) keep(c net.Conn, yes bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if yes {
		f.conns[c] = true
		return
	}
	delete(f.conns, c)
	_ = c.Close()
}

// stop ends the listener and all connections.
func (f *front) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.listener.Close()
	for c := range f.conns {
		_ = c.Close()
	}
	if f.hang != nil {
		close(f.hang)
		f.hang = nil
	}
}

func message(c net.Conn) ([]byte, error) {
	head := make([]byte, headLen)
	if _, err := io.ReadFull(c, head); err != nil {
		return nil, err
	}
	n, err := length(head)
	if err != nil {
		return nil, err
	}
	b := append(head, make([]byte, n)...)
	_, err = io.ReadFull(c, b[headLen:])
	return b, err
}

func (f *front) serve(c net.Conn) {
	back, err := f.dial()
	if err != nil {
		return
	}
	defer back.Close()
	for {
		in, err := message(c)
		if err != nil {
			return
		}
		f.calls.Add(1)
		f.mu.Lock()
		hang, change := f.hang, f.change
		f.mu.Unlock()
		if hang != nil {
			<-hang
		}
		if _, err := back.Write(in); err != nil {
			return
		}
		out, err := message(back)
		if err != nil {
			return
		}
		if change != nil {
			q, err1 := decode(in)
			a, err2 := decode(out)
			if err1 != nil || err2 != nil {
				return
			}
			change(&q, &a)
			out = a.append(nil)
		}
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

// at returns the first item with a tag at any depth, nil without one.
func (i *item) at(tag uint32) *item {
	if i.tag == tag {
		return i
	}
	for n := range i.items {
		if found := i.items[n].at(tag); found != nil {
			return found
		}
	}
	return nil
}

func (f *front) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}
