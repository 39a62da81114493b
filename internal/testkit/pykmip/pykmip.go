//go:build unix

// Package pykmip runs PyKMIP's server for tests: the peer of the KMIP seal.
//
// It guarantees that the server listens on 127.0.0.1 only and has ended when the test that started
// it ends. .ci/pykmip installs it into build/pykmip.
//
// PyKMIP knows clients by their certificate's name and shows each of them its own keys alone. It
// decrypts with active keys only, stricter than the standard, and reports a wrong tag as a general
// failure.
//
// The package is for tests alone and is never linked into the program.
package pykmip

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/testkit"
	"github.com/sealgate/sealgate/internal/testkit/ports"
)

// Server is a running server and the files that clients need.
type Server struct {
	Addr                  string // host:port
	CA                    string // certificate of its authority
	ServerCert, ServerKey string
	ClientCert, ClientKey string // of the client "sealgate"
	OtherCert, OtherKey   string // of the client "stranger"
}

// script runs the server until the pipe at its standard input ends: with the test at the latest.
const script = `exec 3<&0
"$1" "$2" -f "$3" -l "$4" </dev/null 3<&- &
pid=$!
{ read -r _ <&3; kill -KILL $pid; kill -KILL 0; } &
wait $pid`

// Start starts a server.
func Start(t testing.TB) *Server {
	t.Helper()
	top, err := testkit.Root()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, filepath.Join(top, ".ci", "pykmip")).CombinedOutput(); err != nil {
		t.Fatalf("PyKMIP cannot be installed: %v\n%s", err, out)
	}
	dir := t.TempDir()
	s := &Server{}
	s.certificates(t, dir)
	port, err := ports.Free()
	if err != nil {
		t.Fatal(err)
	}
	const host = "127.0.0.1"
	s.Addr = fmt.Sprintf("%s:%d", host, port)
	config := fmt.Sprintf("[server]\nhostname=%s\nport=%d\ncertificate_path=%s\nkey_path=%s\nca_path=%s\n"+
		"auth_suite=TLS1.2\nenable_tls_client_auth=True\nlogging_level=ERROR\ndatabase_path=%s\n"+
		"tls_cipher_suites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384\n",
		host, port, s.ServerCert, s.ServerKey, s.CA, filepath.Join(dir, "keys.db"))
	if err := os.WriteFile(filepath.Join(dir, "server.conf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(top, "build", "pykmip", "bin")
	cmd := exec.Command("/bin/sh", "-c", script, "pykmip", filepath.Join(bin, "python"),
		filepath.Join(bin, "pykmip-server"),
		filepath.Join(dir, "server.conf"), filepath.Join(dir, "server.log"))
	cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "PYTHONNOUSERSITE=1"}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	leash, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	t.Cleanup(func() { _ = leash.Close(); <-ended })
	s.until(t, ended, &output)
	return s
}

// until waits for the server to take connections.
func (s *Server) until(t testing.TB, ended chan struct{}, output *bytes.Buffer) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(s.ClientCert, s.ClientKey)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(s.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	testkit.Eventually(t, "PyKMIP takes connections", func() bool {
		select {
		case <-ended:
			t.Fatalf("PyKMIP ended: %s", output.String())
		default:
		}
		c, err := tls.Dial("tcp", s.Addr, &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool})
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
}

// certificates makes an authority and the certificates of the server and two clients.
func (s *Server) certificates(t testing.TB, dir string) {
	t.Helper()
	template := func(name string, serial int64) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
			NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		}
	}
	ca := template("kmip test authority", 1)
	ca.IsCA, ca.KeyUsage = true, x509.KeyUsageCertSign
	authority, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	sign := func(c *x509.Certificate, public any) []byte {
		der, err := x509.CreateCertificate(rand.Reader, c, ca, public, authority)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	s.CA = write("ca.pem", "CERTIFICATE", sign(ca, &authority.PublicKey))
	leaf := func(name string, serial int64, use x509.ExtKeyUsage) (cert, key string) {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := template(name, serial)
		c.ExtKeyUsage, c.IPAddresses = []x509.ExtKeyUsage{use}, []net.IP{net.IPv4(127, 0, 0, 1)}
		raw, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return write(name+".pem", "CERTIFICATE", sign(c, &k.PublicKey)), write(name+".key", "PRIVATE KEY", raw)
	}
	s.ServerCert, s.ServerKey = leaf("server", 2, x509.ExtKeyUsageServerAuth)
	s.ClientCert, s.ClientKey = leaf("sealgate", 3, x509.ExtKeyUsageClientAuth)
	s.OtherCert, s.OtherKey = leaf("stranger", 4, x509.ExtKeyUsageClientAuth)
}
