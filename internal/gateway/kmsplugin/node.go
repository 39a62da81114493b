package kmsplugin

import (
	"sync"
	"time"
)

// node is one address, with its circuit breaker.
type node struct {
	address string

	mu    sync.Mutex
	fails int       // in a row
	until time.Time // not asked before, while others may answer
}

// Waits of a circuit breaker: it opens with the second failure in a row, and doubles.
const (
	openFirst = time.Second
	openMost  = 30 * time.Second
)

func (n *node) closed(now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !now.Before(n.until)
}

func (n *node) succeeded() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fails, n.until = 0, time.Time{}
}

func (n *node) failed(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fails++
	if n.fails < 2 {
		return
	}
	n.until = now.Add(min(openFirst<<min(n.fails-2, 10), openMost))
}

// order returns the nodes to ask: those whose breaker is closed, the one that answered last first;
// then, as the last resort, the others.
func (c *Client) order() []*node {
	now := c.o.Now()
	last := int(c.last.Load())
	var open, closed []*node
	for i := range c.nodes {
		n := c.nodes[(last+i)%len(c.nodes)]
		if n.closed(now) {
			closed = append(closed, n)
		} else {
			open = append(open, n)
		}
	}
	return append(closed, open...)
}

func (c *Client) answered(n *node) {
	n.succeeded()
	for i, other := range c.nodes {
		if other == n {
			c.last.Store(int32(i))
		}
	}
}
