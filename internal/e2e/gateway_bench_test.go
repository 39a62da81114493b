//go:build linux && cgo

package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kms "k8s.io/kms/apis/v2"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/hsm/softhsm"
	"github.com/sealgate/sealgate/internal/testkit"
)

// gatewayBench is a server on a SoftHSM token with both gateways: the external keys and transit
// keys "orders" (in the token) and "soft" (in the barrier).
type gatewayBench struct {
	testing.TB
	*Server
	token *softhsm.Token
	root  string
	aws   *awsKMS
	pool  *x509.CertPool
}

// certificate writes a self-signed certificate for 127.0.0.1.
func (g *gatewayBench) certificate() (cert, key string) {
	g.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		g.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		g.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		g.Fatal(err)
	}
	cert, key = filepath.Join(g.Dir, "cert.pem"), filepath.Join(g.Dir, "key.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	g.pool = x509.NewCertPool()
	g.pool.AppendCertsFromPEM(text)
	if err := errors.Join(os.WriteFile(cert, text, 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600)); err != nil {
		g.Fatal(err)
	}
	return cert, key
}

func newGatewayBench(b testing.TB) *gatewayBench {
	b.Helper()
	g := &gatewayBench{TB: b}
	dir := b.TempDir()
	var err error
	if g.token, err = softhsm.Init(filepath.Join(dir, "token"), softhsm.Options{}); err != nil {
		b.Fatal(err)
	}
	addr, err := FreeAddr()
	if err != nil {
		b.Fatal(err)
	}
	xks, err := FreeAddr()
	if err != nil {
		b.Fatal(err)
	}
	g.Server = &Server{Bin: buildPlain(b), Dir: dir, Addr: addr, Env: g.token.Environ()}
	cert, key := g.certificate()
	config := Config(addr, "log_level = \"warn\"\nseal \"pkcs11\" \"hsm\" {\n  key_label = \"root\"\n"+
		"  generate_key = true\n}\n") +
		fmt.Sprintf("kms_library \"pkcs11\" {\n  name = \"hsm1\"\n  library = %q\n}\n", g.token.Lib) +
		fmt.Sprintf("gateway \"xks\" {\n  address = %q\n  tls_cert_file = %q\n  tls_key_file = %q\n  deadline = \"5s\"\n}\n",
			xks, cert, key) +
		fmt.Sprintf("gateway \"kmsv2\" {\n  socket = %q\n  key = \"orders\"\n  policies = [\"bench\"]\n}\n",
			filepath.Join(dir, "orders.sock")) +
		fmt.Sprintf("gateway \"kmsv2\" {\n  name = \"soft\"\n  socket = %q\n  key = \"soft\"\n  policies = [\"bench\"]\n}\n",
			filepath.Join(dir, "soft.sock"))
	if err := g.WriteConfig(config); err != nil {
		b.Fatal(err)
	}
	if err := g.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := g.Stop(); err != nil {
			b.Errorf("%v\n%s", err, g.Server.Log())
		}
	})
	if err := g.UntilUp(); err != nil {
		b.Fatalf("%v\n%s", err, g.Server.Log())
	}
	g.root = benchInit(b, g.Server)
	g.prepare("https://" + xks)
	return g
}

// prepare makes keys, policy, store and credential.
func (g *gatewayBench) prepare(url string) {
	g.Helper()
	do := func(code int, method, path string, body, out any) {
		g.Helper()
		benchDo(g.TB, g.Server, g.root, code, method, path, body, out)
	}
	do(204, "POST", "sys/mounts/transit", map[string]any{"type": "transit",
		"config": map[string]any{"allowed_managed_keys": "orders"}}, nil)
	do(204, "POST", "sys/managed-keys/pkcs11/orders", map[string]any{"library": "hsm1", "token_label": g.token.Label,
		"pin": g.token.PIN, "key_label": "orders", "mechanism": "0x1087", "key_bits": 256, "usages": "encrypt,decrypt",
		"allow_generate_key": true}, nil)
	do(200, "POST", "transit/keys/orders", map[string]any{"type": "managed_key", "managed_key_name": "orders"}, nil)
	do(200, "POST", "transit/keys/soft", nil, nil)
	do(204, "PUT", "sys/policies/acl/bench", map[string]string{"policy": `path "transit/*" { capabilities = ["update"] }`},
		nil)
	do(204, "POST", "sys/mounts/xks", map[string]string{"type": "xks"}, nil)
	do(204, "POST", "xks/stores/prod", map[string]any{"prefix": "/store-prod", "policies": "bench",
		"health_key": "transit/soft"}, nil)
	for _, key := range []string{"orders", "soft"} {
		do(204, "POST", "xks/stores/prod/keys/"+key, map[string]any{"key": "transit/" + key, "kms_key_arn": ordersARN}, nil)
	}
	var made xksMade
	do(200, "POST", "xks/stores/prod/credentials", nil, &made)
	c := made.Data.Configuration.Credential
	g.aws = &awsKMS{t: g.TB, url: url, prefix: "/store-prod", region: "eu-central-1", principal: alicesARN, arn: ordersARN,
		id: c.ID, secret: c.Secret}
}

// callers is the concurrency of the benchmarks.
const callers = 16

// measure runs f by some callers for a while, and returns the rate and the 99th percentile.
func (g *gatewayBench) measure(f func(caller int) error) (rate float64, p99 time.Duration) {
	g.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var all []time.Duration
	begun := time.Now()
	for caller := range callers {
		wg.Go(func() {
			var mine []time.Duration
			for time.Since(begun) < window {
				start := time.Now()
				if err := f(caller); err != nil {
					g.Error(err)
					return
				}
				mine = append(mine, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
		})
	}
	wg.Wait()
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	return float64(len(all)) / time.Since(begun).Seconds(), all[len(all)*99/100]
}

// xks returns a caller of an encryption over kept TLS connections. The signature of one request is
// used again, which AWS's clock allows for five minutes: signing is not the server's cost.
func (g *gatewayBench) xks(key string, integrity bool) func(int) error {
	g.Helper()
	members := map[string]any{"plaintext": base64.StdEncoding.EncodeToString(make([]byte, 32)),
		"encryptionAlgorithm": "AES_GCM"}
	if integrity {
		members["ciphertextDataIntegrityValueAlgorithm"] = "SHA_256"
	}
	body := g.aws.body("Encrypt", members)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callers,
		TLSClientConfig: &tls.Config{RootCAs: g.pool, ServerName: "localhost"}}}
	g.Cleanup(client.CloseIdleConnections)
	signed := g.aws.signed(g.Context(), "keys/"+key+"/encrypt", body)
	return func(int) error {
		q := signed.Clone(context.Background())
		q.Body = io.NopCloser(bytes.NewReader(body))
		resp, err := client.Do(q)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 {
			return fmt.Errorf("%d %s %w", resp.StatusCode, raw, err)
		}
		var out struct{ Ciphertext string }
		return json.Unmarshal(raw, &out)
	}
}

// device returns a caller of the token itself, through package hsm with isolation.
func (g *gatewayBench) device() func(int) error {
	g.Helper()
	for _, v := range g.token.Environ() {
		name, value, _ := strings.Cut(v, "=")
		g.Setenv(name, value)
	}
	t, err := hsm.New(g.token.Config())
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() { _ = t.Close() })
	key, err := t.Key(hsm.KeySpec{Label: "root"})
	if err != nil {
		g.Fatal(err)
	}
	plain, aad := make([]byte, 32), make([]byte, 20)
	return func(int) error {
		_, err := key.Encrypt(context.Background(), plain, aad)
		return err
	}
}

// socket returns a caller of decryptions by a connection of its own.
func (g *gatewayBench) socket(name string) func(int) error {
	g.Helper()
	var all [callers]*apiServer
	for i := range all {
		all[i] = newAPIServer(g.TB, filepath.Join(g.Dir, name+".sock"))
	}
	sealed, err := all[0].encrypt("0123456789abcdef0123456789abcdef")
	if err != nil {
		g.Fatal(err)
	}
	q := &kms.DecryptRequest{Ciphertext: sealed.Ciphertext, KeyId: sealed.KeyId, Uid: "bench"}
	return func(caller int) error {
		_, err := all[caller].Decrypt(context.Background(), q)
		return err
	}
}

// BenchmarkGateways compares XKS over TLS and KMS v2 over the socket, each by 16 callers, with the
// token itself through package hsm, by turns in one run. The load shares the machine.
func BenchmarkGateways(b *testing.B) {
	g := newGatewayBench(b)
	calls := map[string]func(int) error{
		"hsm": g.device(), "xks": g.xks("orders", false), "xks-integrity": g.xks("orders", true),
		"xks-soft": g.xks("soft", false), "kmsv2": g.socket("orders"), "kmsv2-soft": g.socket("soft"),
	}
	rates, worst, rounds := map[string]float64{}, map[string]time.Duration{}, 0.0
	for b.Loop() {
		for name, f := range calls {
			rate, p99 := g.measure(f)
			rates[name] += rate
			worst[name] = max(worst[name], p99)
		}
		rounds++
	}
	for name, sum := range rates {
		b.ReportMetric(sum/rounds, name+"/s")
		b.ReportMetric(float64(worst[name].Microseconds())/1000, name+"-p99-ms")
	}
	for _, name := range []string{"xks", "xks-integrity", "kmsv2"} {
		b.ReportMetric(rates[name]/rates["hsm"], name+"/hsm")
	}
	testkit.AtLeast(b, "XKS with a key in the device, 16 connections over TLS / package hsm",
		rates["xks"]/rates["hsm"], 0.7)
	testkit.AtLeast(b, "the same with an integrity value", rates["xks-integrity"]/rates["hsm"], 0.55)
	testkit.AtLeast(b, "KMS v2 with a key in the device, 16 callers / package hsm", rates["kmsv2"]/rates["hsm"], 0.6)
	testkit.AtLeast(b, "KMS v2 decryptions per second by a software key, 16 callers", rates["kmsv2-soft"]/rounds, 15000)
	testkit.AtMost(b, "their 99th percentile in ms", float64(worst["kmsv2-soft"].Microseconds())/1000, 3)
}
