package pgtest

import (
	"errors"
	"net"
	"sync"
	"testing"
)

// Proxy forwards TCP connections to a server. It can stall, like a network that loses every packet.
type Proxy struct {
	target   string
	listener net.Listener
	tasks    sync.WaitGroup

	mu           sync.Mutex
	flow         *sync.Cond
	unresponsive bool
	closed       bool
	conns        map[net.Conn]bool
}

// NewProxy starts a proxy in front of an address that ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{target: target, listener: l, conns: map[net.Conn]bool{}}
	p.flow = sync.NewCond(&p.mu)
	p.tasks.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close() // accepts no more connections
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.Resume()
		p.Cut()
		p.tasks.Wait()
	})
	return p
}

// Addr returns the address of the proxy.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Stall holds back all bytes in both directions, on new connections too.
func (p *Proxy) Stall() { p.set(true) }

// Resume forwards bytes again, including those held back.
func (p *Proxy) Resume() { p.set(false) }

func (p *Proxy) set(unresponsive bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unresponsive = unresponsive
	p.flow.Broadcast()
}

// Cut closes all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close() // only closing matters
	}
}

func (p *Proxy) accept() {
	for {
		in, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			p.tasks.Go(func() { p.serve(in) })
		}
	}
}

func (p *Proxy) serve(in net.Conn) {
	defer p.forget(in)
	if !p.keep(in) {
		return
	}
	out, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer p.forget(out)
	if !p.keep(out) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.copy(out, in) })
	both.Go(func() { p.copy(in, out) })
	both.Wait()
}

func (p *Proxy) keep(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[conn] = true
	return !p.closed
}

func (p *Proxy) forget(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
	_ = conn.Close() // only closing matters
}

// copy forwards bytes in one direction while they may pass. Its end closes the connection.
func (p *Proxy) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		for p.unresponsive && !p.closed {
			p.flow.Wait()
		}
		p.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
