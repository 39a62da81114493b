package pgtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// EnableTLS gives the server a self-signed certificate for 127.0.0.1, and returns its file.
func (s *Server) EnableTLS(t testing.TB) (ca string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "PostgreSQL of a test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	ca = filepath.Join(t.TempDir(), "ca.pem")
	s.writePEM(t, ca, "CERTIFICATE", certificate)
	s.writePEM(t, filepath.Join(s.dir, "data", "server.crt"), "CERTIFICATE", certificate)
	s.writePEM(t, filepath.Join(s.dir, "data", "server.key"), "PRIVATE KEY", private)
	s.Exec(t, "postgres", `ALTER SYSTEM SET ssl = on`)
	s.Stop(t)
	s.Restart(t)
	return ca
}

// writePEM writes a file owned by the server's user.
func (s *Server) writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
	if err == nil && s.run != nil {
		err = os.Chown(path, int(s.run.Uid), int(s.run.Gid))
	}
	if err != nil {
		t.Fatal(err)
	}
}
