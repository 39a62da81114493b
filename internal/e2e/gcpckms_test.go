package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/testkit/gcpkms"
	"github.com/sealgate/sealgate/internal/testkit/ports"
)

const (
	gcpKey  = "projects/trial-project/locations/europe-west3/keyRings/seals/cryptoKeys/root"
	gcpSeal = `seal "gcpckms" "google" {
  project     = "trial-project"
  region      = "europe-west3"
  key_ring    = "seals"
  crypto_key  = "root"
  endpoint    = %q
  tls_ca_cert = %q
  credentials = "file://%s"
}
`
)

// gcp is a server on a key of the emulator of Google Cloud KMS, which keeps its keys in a file.
type gcp struct {
	*harness
	kms      *gcpkms.Service
	emulator *gcpkms.Server
	account  string // its credentials file
}

func newGCP(t *testing.T) *gcp {
	t.Helper()
	dir := t.TempDir()
	g := &gcp{account: filepath.Join(dir, "account.json")}
	cert, key, err := gcpkms.SelfSigned([]string{"127.0.0.1"}, time.Now())
	mustGCP(t, err)
	pair, err := tls.X509KeyPair(cert, key)
	mustGCP(t, err)
	ca := filepath.Join(dir, "ca.pem")
	mustGCP(t, os.WriteFile(ca, cert, 0o600))
	g.kms, err = gcpkms.New(gcpkms.Options{State: filepath.Join(dir, "kms.json")})
	mustGCP(t, err)
	mustGCP(t, g.kms.Act("create-hsm", gcpKey))
	addr, err := ports.Addr() // it is used again
	mustGCP(t, err)
	g.emulator, err = gcpkms.Start(g.kms, gcpkms.Listen{GRPC: addr, HTTP: "127.0.0.1:0", Cert: pair})
	mustGCP(t, err)
	t.Cleanup(func() { mustGCP(t, g.emulator.Close()) })
	g.harness = newHarness(t, dir, fmt.Sprintf(gcpSeal, g.emulator.Endpoint(), ca, g.account))
	g.newCredentials("cloudkms.cryptoKeyEncrypterDecrypter", "cloudkms.viewer")
	return g
}

func mustGCP(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newCredentials makes a key of the service account, puts it in the place of the old one, and makes
// that one useless.
func (g *gcp) newCredentials(roles ...string) {
	g.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	mustGCP(g.t, err)
	var grants []gcpkms.Grant
	for _, r := range roles {
		grant, err := gcpkms.ParseGrant(r)
		mustGCP(g.t, err)
		grants = append(grants, grant)
	}
	data, err := gcpkms.Credentials("sealgate", key, g.emulator.TokenURL())
	mustGCP(g.t, err)
	var file struct {
		Key string `json:"private_key"`
	}
	mustGCP(g.t, json.Unmarshal(data, &file))
	g.known.add("the account's key", file.Key)
	mustGCP(g.t, os.WriteFile(g.account, data, 0o600))
	mustGCP(g.t, g.kms.SetAccount("sealgate", &key.PublicKey, grants...))
}

func (g *gcp) act(action string) { g.t.Helper(); mustGCP(g.t, g.kms.Act(action, gcpKey)) }

// restart kills the server and starts it again.
func (g *gcp) restart() {
	g.t.Helper()
	g.move(g.Kill)
	g.mustStart()
}

// sealedAs waits until the server is sealed and says why.
func (g *gcp) sealedAs(class string, words ...string) {
	g.t.Helper()
	g.eventually(patience, "sealed as "+class, func() bool {
		st := g.status()
		return st.Sealed && len(st.Seals) == 1 && st.Seals[0].Class == class
	})
	g.failing(class, words...)
}

// backend is what operator seal-status shows of the seal.
func (g *gcp) backend() (version, newest, protection string, needed []string) {
	g.t.Helper()
	var st struct {
		Backends []struct {
			Version    string `json:"key_version"`
			Newest     string `json:"key_newest_version"`
			Protection string `json:"key_protection"`
			Needed     []struct {
				Version string `json:"key_version"`
			} `json:"needed_keys"`
		} `json:"backends"`
	}
	g.decode(g.must(200, "GET", "sys/seal-backend-status", nil), &st)
	b := st.Backends[0]
	for _, n := range b.Needed {
		needed = append(needed, n.Version)
	}
	return b.Version, b.Newest, b.Protection, needed
}

// TestGCPKMS: a server on a key of Google Cloud KMS is killed, its credentials replaced, and its
// key disabled, scheduled for destruction, and destroyed.
func TestGCPKMS(t *testing.T) {
	t.Parallel()
	g := newGCP(t)
	g.mustStart()
	g.mustInit()
	g.mustPut("a", "1")
	g.restart()
	g.until(patience, "unsealed automatically", unsealed)
	g.mustGet("a", "1")

	g.newCredentials("cloudkms.cryptoKeyEncrypterDecrypter") // the old key is revoked; the new one may not read the key
	g.must(204, "PUT", "sys/rotate/root", nil)
	g.newCredentials("cloudkms.viewer")
	saysAll(t, "without the permission", g.must(503, "PUT", "sys/rotate/root", nil).Errors(), "denied",
		"cryptoKeyEncrypterDecrypter", "nothing was changed")
	g.newCredentials("cloudkms.cryptoKeyEncrypterDecrypter", "cloudkms.viewer")

	g.act("disable")
	saysAll(t, "rotating the root key", g.must(503, "PUT", "sys/rotate/root", nil).Errors(), "key disabled",
		"gcloud kms keys versions enable 1")
	g.mustPut("b", "2") // an unsealed server keeps serving
	g.restart()
	g.sealedAs("key disabled", "versions enable 1")
	g.act("enable")
	g.until(patience, "unsealed automatically, the version enabled again", unsealed)
	g.mustGet("b", "2")

	g.act("schedule")
	g.restart()
	g.sealedAs("pending deletion", "will be destroyed at "+time.Now().AddDate(0, 0, 30).UTC().Format("2006-01-02"),
		"versions restore 1")
	g.act("restore")
	g.act("enable")
	g.until(patience, "unsealed automatically, the version restored", unsealed)

	g.act("destroy")
	g.mustPut("c", "3")
	g.restart()
	g.sealedAs("key gone", "current state is: DESTROYED", "backup")
}

// TestGCPKMSAway: while the KMS is unreachable, requests succeed and custodians rekey; a server
// that starts then waits for it.
func TestGCPKMSAway(t *testing.T) {
	t.Parallel()
	g := newGCP(t)
	g.mustStart()
	shares := g.mustInit()
	l := g.startTraffic(2)
	g.emulator.Away()
	nonce := g.startRekey(3, 2)
	for i, share := range shares[:3] {
		reply := g.give("sys/rekey-recovery-key/update", share, nonce)
		if reply.Code != 200 {
			t.Fatalf("share %d while the KMS is unreachable: %d %s", i, reply.Code, reply.Body)
		}
		g.learn("PUT sys/rekey-recovery-key/update", reply)
	}
	saysAll(t, "rotating the root key", g.must(503, "PUT", "sys/rotate/root", nil).Errors(), "unreachable",
		"nothing was changed")
	g.must(204, "PUT", "sys/rotate", nil) // the barrier's key needs no KMS
	l.goesOn(100)
	mustGCP(t, g.emulator.Back())
	g.must(204, "PUT", "sys/rotate/root", nil)
	l.stop(t)
	g.mustPut("b", "2")

	g.emulator.Away()
	g.restart()
	g.sealedAs("unreachable")
	mustGCP(t, g.emulator.Back())
	g.until(patience, "unsealed automatically, the KMS back", unsealed)
	g.mustGet("b", "2")

	// A KMS that accepts calls and does not answer holds nothing up but what needs it.
	mustGCP(t, g.kms.Inject(gcpkms.Fault{Unresponsive: true}))
	saysAll(t, "rotating the root key", g.must(503, "PUT", "sys/rotate/root", nil).Errors(), "unreachable")
	g.restart()
	g.sealedAs("unreachable")
	g.kms.Clear()
	g.until(patience, "unsealed automatically, the KMS answering", unsealed)
	g.mustGet("b", "2")
}

// TestGCPKMSRotation: after the key was rotated, what is stored is wrapped by the new version
// without being asked, and nothing needs the old one.
func TestGCPKMSRotation(t *testing.T) {
	t.Parallel()
	g := newGCP(t)
	g.mustStart()
	g.mustInit()
	g.mustPut("a", "1")
	if version, _, _, needed := g.backend(); version != "1" || len(needed) != 1 || needed[0] != "1" {
		t.Errorf("before: version %q, needed %q", version, needed)
	}
	g.act("rotate")
	g.restart()
	g.until(patience, "unsealed automatically, the key rotated", unsealed)
	g.eventually(patience, "wrapped by the new version", func() bool {
		version, newest, protection, needed := g.backend()
		return version == "2" && newest == "2" && protection == "hsm" && len(needed) == 1 && needed[0] == "2"
	})
	mustGCP(t, g.kms.Act("destroy", gcpKey+"/cryptoKeyVersions/1"))
	g.restart()
	g.until(patience, "unsealed automatically, the old version destroyed", unsealed)
	g.mustGet("a", "1")
}
