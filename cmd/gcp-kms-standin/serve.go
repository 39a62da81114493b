package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/testkit/gcpkms"
)

// serve runs the emulator until the context ends.
func serve(ctx context.Context, o *options, stdout, stderr io.Writer) (err error) {
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	cert, err := o.certificate()
	if err != nil {
		return err
	}
	admin, err := o.adminToken()
	if err != nil {
		return err
	}
	s, err := gcpkms.New(gcpkms.Options{
		State: o.state, Quotas: gcpkms.Quotas{Crypto: o.quota}, Log: slog.New(slog.NewTextHandler(stderr, nil)),
	})
	if err != nil {
		return err
	}
	for _, k := range o.keys {
		if err := s.Act(k.action, k.name); err != nil {
			return fmt.Errorf("-key %s: %w", k.name, err)
		}
	}
	l := gcpkms.Listen{GRPC: o.listen, HTTP: o.http, Cert: cert, Admin: admin}
	if o.url != "" {
		l.TokenURL = strings.TrimSuffix(o.url, "/") + "/token"
	}
	v, err := gcpkms.Start(s, l)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	for _, a := range o.accounts {
		if err := o.account(s, a, v.TokenURL()); err != nil {
			return fmt.Errorf("-account %s: %w", a.name, err)
		}
	}
	fmt.Fprintf(stdout, "This is an emulator of Google Cloud KMS, for tests and trials; it is no security product.\n"+
		"gRPC: %s   HTTPS: %s   certificate: %s\n", v.Endpoint(), v.URL(), filepath.Join(o.dir, "ca.pem"))
	<-ctx.Done()
	return nil
}

// certificate is the one that is given, else the one of the folder, made if there is none. ca.pem
// is what clients trust.
func (o *options) certificate() (tls.Certificate, error) {
	ca, key := filepath.Join(o.dir, "ca.pem"), filepath.Join(o.dir, "tls.key")
	if o.cert != "" {
		pair, err := tls.LoadX509KeyPair(o.cert, o.key)
		if err != nil {
			return pair, err
		}
		chain, err := os.ReadFile(o.cert)
		if err != nil {
			return pair, err
		}
		return pair, gcpkms.WriteFile(ca, chain, 0o644)
	}
	pair, err := tls.LoadX509KeyPair(ca, key)
	if !errors.Is(err, fs.ErrNotExist) {
		return pair, err
	}
	certPEM, keyPEM, err := gcpkms.SelfSigned(strings.Split(o.names, ","), time.Now())
	if err != nil {
		return tls.Certificate{}, err
	}
	if err := errors.Join(gcpkms.WriteFile(key, keyPEM, 0o600), gcpkms.WriteFile(ca, certPEM, 0o644)); err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(certPEM, keyPEM)
}

// account registers a service account with the key of its credentials file, which is made if there
// is none.
func (o *options) account(s *gcpkms.Service, a accountFlag, tokenURL string) error {
	path := filepath.Join(o.dir, a.name+".json")
	key, err := keyOf(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		return err
	}
	if err := s.SetAccount(a.name, &key.PublicKey, a.grants...); err != nil {
		return err
	}
	data, err := gcpkms.Credentials(a.name, key, tokenURL)
	if err != nil {
		return err
	}
	return gcpkms.WriteFile(path, data, 0o600)
}

// keyOf reads the private key of a credentials file.
func keyOf(path string) (*rsa.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var f struct {
		Key string `json:"private_key"`
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	block, _ := pem.Decode([]byte(f.Key))
	if block == nil {
		return nil, fmt.Errorf("%s has no private key", path)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: its private key cannot be read", path)
	}
	key, ok := k.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: its private key is no RSA key", path)
	}
	return key, nil
}

// adminToken is the one of the folder, made if there is none.
func (o *options) adminToken() (string, error) {
	path := filepath.Join(o.dir, "admin-token")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		token := rand.Text()
		return token, gcpkms.WriteFile(path, []byte(token+"\n"), 0o600)
	}
	token := strings.TrimSpace(string(data))
	if err == nil && token == "" {
		err = fmt.Errorf("%s is empty; remove it to have a new one made", path)
	}
	return token, err
}

// check asks an emulator of the same folder whether it serves.
func check(ctx context.Context, o *options) error {
	ca, err := os.ReadFile(filepath.Join(o.dir, "ca.pem"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return fmt.Errorf("%s holds no certificate", filepath.Join(o.dir, "ca.pem"))
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return gcpkms.Healthy(ctx, o.check, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12})
}
