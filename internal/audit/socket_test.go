//go:build unix

package audit

import (
	"bufio"
	"errors"
	"io"
	"log/syslog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// collector listens and keeps lines.
type collector struct {
	net.Listener
	lines chan string
	wg    sync.WaitGroup
}

func listen(t *testing.T, network, address string) *collector {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{Listener: l, lines: make(chan string, 1000)}
	c.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.wg.Go(func() {
				defer conn.Close()
				for s := bufio.NewScanner(conn); s.Scan(); {
					if strings.Contains(s.Text(), "hang up") {
						return
					}
					c.lines <- s.Text()
				}
			})
		}
	})
	return c
}

// stop waits until the connections have ended, too.
func (c *collector) stop(t *testing.T, end func()) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	end()
	c.wg.Wait()
}

func TestSockets(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			b := active(t)
			address := "127.0.0.1:0"
			if network == "unix" {
				address = b.file("socket")
			}
			c := listen(t, network, address)
			b.enable("s", "socket", "address", c.Addr().String(), "socket_type", network, "write_timeout", "5s")
			<-c.lines
			b.must("1")
			for range 2 {
				if line := <-c.lines; !strings.Contains(line, "secret/1") {
					t.Errorf("got %s", line)
				}
			}
			_ = b.trail.Begin(request("hang up"), nil).Request("") // the other end closes
			s := b.trail.now.Load().devices[0].device.sink.(*socketSink)
			eventually(t, "the end of the connection is noticed", s.gone.Load)
			b.must("2")
			for range 2 {
				if line := <-c.lines; !strings.Contains(line, "secret/2") {
					t.Errorf("by a new connection: %s", line)
				}
			}
			c.stop(t, func() { _ = b.trail.Begin(request("hang up"), nil).Request("") })
			eventually(t, "the end of the connection is noticed", s.gone.Load)
			if err := b.once("3"); !errors.Is(err, ErrUnwritten) {
				t.Errorf("no listener: %v", err)
			}
		})
	}
}

// TestHungSocket: somebody accepts and never reads.
func TestHungSocket(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b := active(t)
	b.enable("s", "socket", "address", l.Addr().String(), "write_timeout", "200ms")
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	big := &Request{ID: "1", Path: strings.Repeat("x", 1<<20)}
	var slowest time.Duration
	for range 100 {
		begin := time.Now()
		err = b.trail.Begin(big, nil).Request("")
		slowest = max(slowest, time.Since(begin))
		if err != nil {
			break
		}
	}
	if !errors.Is(err, ErrUnwritten) || slowest > time.Minute/2 {
		t.Errorf("never read: %v after %s", err, slowest)
	}
}

func TestDatagrams(t *testing.T) {
	t.Parallel()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b := active(t)
	b.enable("s", "socket", "address", conn.LocalAddr().String(), "socket_type", "udp", "skip_test", "true")
	b.must("1")
	buf := make([]byte, 1<<16)
	for range 2 {
		n, _, err := conn.ReadFrom(buf)
		if err != nil || len(b.entries(string(buf[:n]))) != 1 {
			t.Errorf("%s, %v", buf[:n], err)
		}
	}
}

// TestSyslog writes to a log of its own, which goes and comes back.
func TestSyslog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	address := filepath.Join(dir, "log")
	daemon := func() net.PacketConn {
		c, err := net.ListenPacket("unixgram", address)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	var asked []string
	b := active(t, func(o *Options) {
		o.Syslog = func(facility, tag string) (io.WriteCloser, error) {
			asked = []string{facility, tag}
			return syslog.Dial("unixgram", address, syslog.LOG_AUTH|syslog.LOG_INFO, tag)
		}
	})
	d := daemon()
	b.enable("sys", "syslog", "facility", "local3", "tag", "sealgate", "skip_test", "true")
	b.must("1")
	buf := make([]byte, 1<<16)
	for range 2 {
		n, _, err := d.ReadFrom(buf)
		if text := string(buf[:n]); err != nil || !strings.Contains(text, "sealgate[") ||
			!strings.Contains(text, `"path":"secret/1"`) {
			t.Errorf("%q, %v", text, err)
		}
	}
	if asked[0] != "LOCAL3" || asked[1] != "sealgate" {
		t.Errorf("asked for %v", asked)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(address); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if err := b.once("2"); !errors.Is(err, ErrUnwritten) {
		t.Errorf("the log is gone: %v", err)
	}
	d = daemon()
	defer d.Close()
	b.must("3")
}
