package etcdtest

import (
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/testkit/ports"
)

// Proxy forwards TCP connections to a server, and can interrupt them.
type Proxy struct {
	Endpoint string // URL of the proxy, with the server's scheme

	target  string
	address string
	tasks   sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener
	stalled  chan struct{} // closed when bytes may pass
	conns    map[net.Conn]struct{}
	down     bool
}

// NewProxy starts a proxy in front of the endpoint that ends with the test.
func NewProxy(t testing.TB, endpoint string) *Proxy {
	t.Helper()
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ports.Listen()
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Endpoint: u.Scheme + "://" + l.Addr().String(), target: u.Host, address: l.Addr().String(), listener: l,
		stalled: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	close(p.stalled)
	p.tasks.Go(func() { p.accept(l) })
	t.Cleanup(p.Down)
	return p
}

func (p *Proxy) accept(l net.Listener) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		p.tasks.Go(func() { p.serve(in) })
	}
}

func (p *Proxy) serve(in net.Conn) {
	if !p.add(in) {
		return
	}
	defer p.remove(in)
	out, err := net.Dial("tcp", p.target)
	if err != nil || !p.add(out) {
		return
	}
	defer p.remove(out)
	var both sync.WaitGroup
	both.Go(func() { p.copy(out, in) })
	both.Go(func() { p.copy(in, out) })
	both.Wait()
}

func (p *Proxy) add(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		_ = c.Close()
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) remove(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	_ = c.Close()
}

// copy forwards bytes in one direction, and holds them while the proxy is stalled.
func (p *Proxy) copy(to, from net.Conn) {
	defer func() { _ = to.Close(); _ = from.Close() }() // one closed end closes both
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			p.mu.Lock()
			pass := p.stalled
			p.mu.Unlock()
			<-pass
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// Stall holds back all bytes, in both directions, without closing anything; Flow delivers them.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.stalled:
		p.stalled = make(chan struct{})
	default:
	}
}

// Flow ends a stall.
func (p *Proxy) Flow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.stalled:
	default:
		close(p.stalled)
	}
}

// Cut closes all connections, and accepts new ones.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// Down closes all connections, refuses new ones, and drops stalled bytes. It returns when its
// goroutines have ended.
func (p *Proxy) Down() {
	p.mu.Lock()
	p.down = true
	_ = p.listener.Close()
	p.mu.Unlock()
	p.Cut()
	p.Flow()
	p.tasks.Wait()
}

// Up accepts connections again after Down, at the same address.
func (p *Proxy) Up(t testing.TB) {
	t.Helper()
	l := listenAgain(t, p.address)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down, p.listener = false, l
	p.tasks.Go(func() { p.accept(l) })
}

// listenAgain listens at an address that was in use a moment ago.
func listenAgain(t testing.TB, address string) net.Listener {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		l, err := net.Listen("tcp", address)
		if err == nil {
			return l
		}
		if time.Now().After(deadline) {
			t.Fatalf("listening again: %v", err)
		}
		time.Sleep(20 * time.Millisecond) // the kernel releases the port soon
	}
}
