package secret

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestKeyPair(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert, good := write("cert", "CERTIFICATE", der), write("key", "PRIVATE KEY", private)
	pair, err := KeyPair(cert, good)
	if err != nil || !key.Equal(pair.PrivateKey) {
		t.Errorf("%T, %v; want the key of the file", pair.PrivateKey, err)
	}
	bad := write("bad", "PRIVATE KEY", []byte("MARK5ecret"))
	for _, c := range [][2]string{{cert, bad}, {cert, filepath.Join(dir, "absent")}, {good, good}} {
		if pair, err := KeyPair(c[0], c[1]); err == nil || pair.PrivateKey != nil || strings.Contains(err.Error(), "MARK") {
			t.Errorf("%v: %v, %v", c, pair.PrivateKey, err)
		}
	}
}
