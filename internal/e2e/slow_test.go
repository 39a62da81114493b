package e2e

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSlowConnections: connections that send their headers or bodies byte by byte are closed at the
// listener's timeouts, and keep nobody else from being answered.
func TestSlowConnections(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	old, err := os.ReadFile(filepath.Join(r.Dir, "sealgate.hcl"))
	if err == nil {
		err = r.WriteConfig(strings.Replace(string(old), "tls_disable = true",
			"tls_disable = true\n  http_read_header_timeout = \"2s\"\n  http_read_timeout = \"3s\"", 1))
	}
	if err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	r.mustInit()
	begun := time.Now()
	var slow []net.Conn
	for i := range 64 {
		c, err := net.Dial("tcp", r.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		head := "GET /v1/sys/health HTTP/1.1\r\nHost: x\r\nX-Slow: "
		if i%2 == 1 {
			head = "PUT /v1/sys/unseal HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"key\":\""
		}
		if _, err := io.WriteString(c, head); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, c)
	}
	r.mustPut("a", "1")
	r.mustGet("a", "1")
	for i, c := range slow {
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Fatalf("connection %d is open after %s: %v %q", i, time.Since(begun), err, text)
		}
	}
	r.mustGet("a", "1")
}
