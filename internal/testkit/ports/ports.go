// Package ports gives tests ports of 127.0.0.1 for servers that start later, or again: nothing else
// takes them meanwhile.
//
// A port that the kernel chooses may become that of any outgoing connection as soon as its listener
// is closed. These are below those of outgoing connections, and each process takes them from blocks
// of its own: it holds a block by listening at its first port.
package ports

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Linux gives 32768 and up to outgoing connections, other systems higher ones.
const (
	first  = 10_000
	blocks = 340
	size   = 64
)

var mine struct {
	sync.Mutex
	held      []net.Listener // of the blocks, until the process ends
	next, end int
}

// Free returns a port at which nothing listens, and which no test but the caller's gets.
func Free() (int, error) {
	mine.Lock()
	defer mine.Unlock()
	for {
		if mine.next == mine.end {
			if err := more(); err != nil {
				return 0, err
			}
		}
		port := mine.next
		mine.next++
		if l, err := listen(port); err == nil {
			return port, l.Close()
		}
	}
}

// Addr is the address of such a port.
func Addr() (string, error) {
	port, err := Free()
	return fmt.Sprintf("127.0.0.1:%d", port), err
}

// Listen listens at such a port: a listener that is closed can be opened again at its address.
func Listen() (net.Listener, error) {
	for {
		port, err := Free()
		if err != nil {
			return nil, err
		}
		if l, err := listen(port); err == nil {
			return l, nil
		}
	}
}

// more takes a block that no process holds.
func more() error {
	begin := rand.IntN(blocks)
	for i := range blocks {
		port := first + (begin+i)%blocks*size
		if l, err := listen(port); err == nil {
			mine.held = append(mine.held, l)
			mine.next, mine.end = port+1, port+size
			return nil
		}
	}
	return errors.New("ports: every block of ports on 127.0.0.1 is in use")
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
}
