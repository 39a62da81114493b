package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"
)

// keyVersions is the number of versions of the key that the crash matrix of transit deletes, trims
// and restores: more than one commit takes.
const keyVersions = 100

// transitBase is what the users of a transit engine hold: ciphertexts of versions, and a backup.
type transitBase struct {
	*base
	ciphertexts map[int]string
	backup      string
	signer      *ecdsa.PrivateKey
	signature   string
}

// transitScenario is one change of keys. judge gets a server that was killed under it, and started
// again: what was acknowledged before holds, and the change is whole or absent.
type transitScenario struct {
	name   string
	method string
	path   string
	body   func(b *transitBase) map[string]any
	code   int
	judge  func(t *testing.T, r *harness, b *transitBase)
}

var transitScenarios = []transitScenario{
	{name: "transit-create", method: "POST", path: "transit/keys/new", code: 200, judge: func(t *testing.T, r *harness,
		_ *transitBase) {
		r.must(200, "POST", "transit/keys/new", map[string]string{})
		r.must(200, "POST", "transit/encrypt/new", letter)
	}},
	{name: "transit-rotate", method: "POST", path: "transit/keys/k/rotate", code: 200,
		judge: func(t *testing.T, r *harness, b *transitBase) {
			if latest := r.latest("k"); latest != keyVersions && latest != keyVersions+1 {
				t.Errorf("latest version %d", latest)
			}
			b.decrypts(t, r, "k", 1)
			r.must(200, "POST", "transit/keys/k/rotate", nil)
			r.must(200, "POST", "transit/encrypt/k", letter)
		}},
	{name: "transit-trim", method: "POST", path: "transit/keys/trimmed/trim", code: 200,
		body: func(*transitBase) map[string]any { return map[string]any{"min_available_version": keyVersions} },
		judge: func(t *testing.T, r *harness, b *transitBase) {
			available := r.data(200, "GET", "transit/keys/trimmed", nil)["min_available_version"].(float64)
			if available != 0 && available != keyVersions {
				t.Errorf("min_available_version %v", available)
			}
			r.must(200, "POST", "transit/encrypt/trimmed", letter)
			r.must(200, "POST", "transit/keys/trimmed/trim", map[string]any{"min_available_version": keyVersions})
		}},
	{name: "transit-import", method: "POST", path: "transit/keys/imported/import", code: 204,
		body: (*transitBase).public, judge: func(t *testing.T, r *harness, b *transitBase) {
			if r.call("GET", "transit/keys/imported", nil).Code == 404 {
				r.must(204, "POST", "transit/keys/imported/import", b.public())
			}
			got := r.data(200, "POST", "transit/verify/imported", map[string]any{"input": "YQ==", "signature": b.signature})
			if got["valid"] != true {
				t.Errorf("%v", got)
			}
		}},
	{name: "transit-restore", method: "POST", path: "transit/restore/again", code: 204,
		body: func(b *transitBase) map[string]any { return map[string]any{"backup": b.backup} },
		judge: func(t *testing.T, r *harness, b *transitBase) {
			if r.call("GET", "transit/keys/again", nil).Code == 404 {
				r.must(204, "POST", "transit/restore/again", map[string]any{"backup": b.backup})
			}
			b.decrypts(t, r, "again", 1)
		}},
	{name: "transit-restore-force", method: "POST", path: "transit/restore/trimmed", code: 204,
		body: func(b *transitBase) map[string]any { return map[string]any{"backup": b.backup, "force": true} },
		judge: func(t *testing.T, r *harness, b *transitBase) {
			if r.data(200, "GET", "transit/keys/trimmed", nil)["min_decryption_version"] != float64(1) {
				r.must(200, "POST", "transit/encrypt/trimmed", letter) // the key that was there
				r.must(204, "POST", "transit/restore/trimmed", map[string]any{"backup": b.backup, "force": true})
			}
			b.decrypts(t, r, "trimmed", 1)
		}},
	{name: "transit-delete", method: "DELETE", path: "transit/keys/k", code: 204,
		judge: func(t *testing.T, r *harness, b *transitBase) {
			if r.call("GET", "transit/keys/k", nil).Code == 200 {
				b.decrypts(t, r, "k", 1)
				r.must(204, "DELETE", "transit/keys/k", nil)
			}
			r.must(200, "POST", "transit/keys/k", map[string]string{})
			r.must(400, "POST", "transit/decrypt/k", map[string]string{"ciphertext": b.ciphertexts[1]})
		}},
	{name: "transit-soft-delete", method: "DELETE", path: "transit/keys/k/soft-delete", code: 200,
		judge: func(t *testing.T, r *harness, b *transitBase) {
			if r.data(200, "GET", "transit/keys/k", nil)["soft_deleted"] == true {
				r.refused(400, "POST", "transit/encrypt/k", letter, "soft-deleted")
				r.must(200, "POST", "transit/keys/k/soft-delete-restore", nil)
			}
			b.decrypts(t, r, "k", 1)
		}},
}

func (r *harness) latest(key string) int {
	r.t.Helper()
	return int(r.data(200, "GET", "transit/keys/"+key, nil)["latest_version"].(float64))
}

// decrypts checks the ciphertexts from a version on.
func (b *transitBase) decrypts(t *testing.T, r *harness, key string, from int) {
	t.Helper()
	for v, c := range b.ciphertexts {
		if v < from {
			continue
		}
		got := r.data(200, "POST", "transit/decrypt/"+key, map[string]string{"ciphertext": c})["plaintext"]
		if got != "YQ==" {
			t.Errorf("version %d decrypts to %v", v, got)
		}
	}
}

// public is the import of the public key alone.
func (b *transitBase) public() map[string]any {
	der, err := x509.MarshalPKIXPublicKey(b.signer.Public())
	if err != nil {
		panic(err)
	}
	return map[string]any{"type": "ecdsa-p256", "public_key": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY",
		Bytes: der}))}
}

// TestCrashMatrixTransit kills the real program before and after each durable step of each change
// of keys.
func TestCrashMatrixTransit(t *testing.T) {
	t.Parallel()
	b := newTransitBase(t)
	for _, sc := range transitScenarios {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			points := b.steps(t, sc)
			checkPoints(t, sc.name, points)
			for _, point := range points {
				t.Run(point, func(t *testing.T) { b.killedAt(t, sc, point) })
			}
		})
	}
}

func newTransitBase(t *testing.T) *transitBase {
	t.Helper()
	r := newTransitServer(t)
	b := &transitBase{ciphertexts: map[int]string{}, base: &base{dir: r.Dir, root: r.root}}
	all := map[string]any{"exportable": true, "allow_plaintext_backup": true, "deletion_allowed": true}
	for _, key := range []string{"k", "trimmed"} {
		r.must(200, "POST", "transit/keys/"+key, map[string]string{})
		r.must(200, "POST", "transit/keys/"+key+"/config", all)
	}
	for v := 1; v <= keyVersions; v++ {
		if v > 1 {
			r.must(200, "POST", "transit/keys/k/rotate", nil)
			r.must(200, "POST", "transit/keys/trimmed/rotate", nil)
		}
		if v == 1 || v == keyVersions/2 || v == keyVersions {
			b.ciphertexts[v] = r.data(200, "POST", "transit/encrypt/k", letter)["ciphertext"].(string)
		}
	}
	r.must(200, "POST", "transit/keys/trimmed/config", map[string]any{"min_decryption_version": keyVersions,
		"min_encryption_version": keyVersions, "force": true})
	b.backup = r.data(200, "GET", "transit/backup/k", nil)["backup"].(string)
	r.known.add("a key's backup", b.backup)
	var err error
	if b.signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("a"))
	raw, err := ecdsa.SignASN1(rand.Reader, b.signer, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	b.signature = "vault:v1:" + base64.StdEncoding.EncodeToString(raw)
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	return b
}

func (sc transitScenario) scenario(b *transitBase) scenario {
	return scenario{name: sc.name, run: func(w *scenarioRun) error {
		var body any
		if sc.body != nil {
			body = sc.body(b)
		}
		return w.do(sc.code, sc.method, sc.path, body, nil)
	}}
}

// steps are the points of a change: those of package keys, and those around the commit that follows
// each.
func (b *transitBase) steps(t *testing.T, sc transitScenario) (points []string) {
	t.Helper()
	follow := false
	for _, p := range b.discover(t, sc.scenario(b)) {
		switch {
		case strings.HasPrefix(p, "keys."):
			points, follow = append(points, p), true
		case follow:
			points = append(points, p)
			follow = !strings.HasPrefix(p, "storage.commit.after")
		}
	}
	return slices.Compact(points)
}

// killedAt makes the change with the server killed at a point, and judges what is left.
func (b *transitBase) killedAt(t *testing.T, sc transitScenario, point string) {
	w := b.open(t)
	w.harness.Env = append(w.harness.Env, "SEALGATE_FAILPOINT="+point)
	w.begin(t, scenario{})
	if err := sc.scenario(b).run(w); !errors.Is(err, errDead) {
		t.Fatalf("the server was to die at %s, but the change ended with: %v", point, err)
	}
	if code, err := w.harness.Wait(patience); err != nil || code != -1 {
		t.Fatalf("exit code %d, %v; want death by a signal", code, err)
	}
	w.harness.Env = slices.Clone(b.env)
	w.begin(t, scenario{})
	sc.judge(t, w.harness, b)
}
