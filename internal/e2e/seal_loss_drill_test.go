//go:build unix

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealgate/sealgate/hsm/softhsm"
	"github.com/sealgate/sealgate/internal/storage/etcd/etcdtest"
	"github.com/sealgate/sealgate/internal/testkit/localstack"
	"github.com/sealgate/sealgate/recovery/transcript"
)

// lossDrill is a cluster of three nodes on etcd that loses its seals one after the other.
type lossDrill struct {
	*Cluster
	t      *testing.T
	token  *softhsm.Token
	kms    *localstack.Proxy
	stanza map[string]string // of each seal
	base   []string          // the configuration of each node without seals
	stop   func() (done, failed int64)
}

// TestSealLossDrillOnEtcd takes a cluster from Shamir to an HSM, to HSM and KMS, and to two of HSM,
// KMS and custodians; it replaces the HSM's key, loses the HSM, then the KMS, then both, which a
// quorum survives by break-glass, and returns to one HSM. No request fails while a node leads, and
// the transcript of all of it verifies.
func TestSealLossDrillOnEtcd(t *testing.T) {
	t.Parallel()
	d := newLossDrill(t)
	d.Begin()
	leader := d.Settled()
	d.begin(leader)

	d.configure(false, "shamir", "hsm")
	d.changeSeals(leader, "add", `{"name":"hsm"}`, "any of shamir, hsm")
	d.authorizeSeals(leader, "remove shamir")
	d.changeSeals(leader, "remove", `{"name":"shamir"}`, "any of hsm")
	d.configure(false, "hsm", "aws")
	d.changeSeals(leader, "add", `{"name":"aws"}`, "any of hsm, aws")
	d.configure(false, "hsm", "aws", "shamir")
	d.reload(leader, "shamir")
	const two = "2 of (hsm, aws, shamir)"
	d.authorizeSeals(leader, "add shamir: "+two)
	d.changeSeals(leader, "add", `{"name":"shamir","policy":"`+two+`"}`, "2 of hsm, aws, shamir")
	d.changeSeals(leader, "rotate-key", `{"name":"hsm"}`, "2 of hsm, aws, shamir")
	d.wouldAllUnseal(t, leader, "2 of hsm, aws, shamir")
	d.end()

	// Without the HSM, then without the KMS, the custodians and the other seal unseal.
	d.loseHSM(true)
	d.restart(func(i int) { d.Unseal(i) })
	d.loseHSM(false)
	d.loseKMS(true)
	leader = d.restart(func(i int) { d.Unseal(i) })
	d.loseKMS(false)
	d.begin(leader)
	d.wouldAllUnseal(t, leader, "2 of hsm, aws, shamir")
	d.authorizeSeals(leader, "policy 1")
	d.changeSeals(leader, "policy", `{"threshold":1}`, "any of hsm, aws, shamir")
	d.authorizeSeals(leader, "remove shamir")
	d.changeSeals(leader, "remove", `{"name":"shamir"}`, "any of hsm, aws")
	d.quorum(leader, "sys/break-glass/enroll/", "")
	d.end()

	// Without both, the quorum unseals each node.
	d.configure(true, "hsm", "aws")
	d.loseHSM(true)
	d.loseKMS(true)
	leader = d.restart(d.breakGlass)
	d.begin(leader)
	d.loseHSM(false) // repaired; its old key is not used again
	d.configure(true, "hsm", "aws", "hsm2")
	d.authorizeSeals(leader, "replace hsm,aws with hsm2")
	d.changeSeals(leader, "add", `{"name":"hsm2","replaces":["hsm","aws"]}`, "any of hsm2")
	d.wouldAllUnseal(t, leader, "any of hsm2")
	d.end()
	d.configure(false, "hsm2")
	leader = d.restart(func(int) {})
	d.verify(leader)
}

func newLossDrill(t *testing.T) *lossDrill {
	t.Helper()
	c := etcdtest.Start(t, etcdtest.Options{NoSync: true})
	d := &lossDrill{t: t, Cluster: NewShamirCluster(t, binary, func(int) string {
		return OnEtcd(c.Direct[0])
	}, 3)}
	var err error
	if d.token, err = softhsm.Init(filepath.Join(t.TempDir(), "token"), softhsm.Options{}); err != nil {
		t.Fatal(err)
	}
	aws := localstack.New(t)
	d.kms = localstack.NewProxy(t, aws)
	secret := filepath.Join(t.TempDir(), "aws-secret")
	if err := os.WriteFile(secret, []byte("an-access-keys-secret-0123456789\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	hsm := "seal \"pkcs11\" %q {\n  key_label = %q\n  generate_key = true\n}\n"
	d.stanza = map[string]string{
		"shamir": "seal \"shamir\" \"shamir\" {\n}\n",
		"hsm":    fmt.Sprintf(hsm, "hsm", "root"),
		"hsm2":   fmt.Sprintf(hsm, "hsm2", "another"),
		"aws": fmt.Sprintf("seal \"awskms\" \"aws\" {\n  kms_key_id = %q\n  endpoint = %q\n  access_key = \"AKIATEST\"\n"+
			"  secret_key = \"file://%s\"\n}\n", aws.CreateKey(t), d.kms.URL, secret),
	}
	for _, s := range d.Nodes {
		s.Env = append(s.Env, d.token.Environ()...)
		text, err := os.ReadFile(filepath.Join(s.Dir, "sealgate.hcl"))
		if err != nil {
			t.Fatal(err)
		}
		d.base = append(d.base, string(text))
	}
	return d
}

// begin loads the leader; end checks that no request failed.
func (d *lossDrill) begin(leader int) { d.stop = d.load(func() []int { return []int{leader} }) }

func (d *lossDrill) end() {
	d.t.Helper()
	if done, failed := d.stop(); done == 0 || failed != 0 {
		d.t.Errorf("%d requests succeeded, %d failed", done, failed)
	}
}

// configure writes the configuration of every node, with these seals.
func (d *lossDrill) configure(breakGlass bool, seals ...string) {
	d.t.Helper()
	for i, s := range d.Nodes {
		text := d.base[i]
		if breakGlass {
			text += "break_glass = true\n"
		}
		for _, name := range seals {
			text += d.stanza[name]
		}
		if err := s.WriteConfig(text); err != nil {
			d.t.Fatal(err)
		}
	}
}

// reload makes every node read its configuration, and waits until the leader knows a seal.
func (d *lossDrill) reload(leader int, seal string) {
	d.t.Helper()
	var again time.Time // a node whose HSM did not answer in time keeps its old seals
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(again) {
			again = time.Now().Add(10 * time.Second)
			for _, s := range d.Nodes {
				if err := s.Signal(syscall.SIGHUP); err != nil {
					d.t.Fatal(err)
				}
			}
		}
		var list struct {
			Data struct{ Candidates []struct{ Name string } }
		}
		d.Must(leader, "GET", "sys/seals", "", &list)
		for _, c := range list.Data.Candidates {
			if c.Name == seal {
				return
			}
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("node %d does not know the seal %q", leader, seal)
		}
	}
}

// quorum gives two shares to a ceremony.
func (d *lossDrill) quorum(leader int, path, body string) {
	d.t.Helper()
	var st struct{ Nonce string }
	d.Must(leader, "PUT", path+"attempt", body, &st)
	for _, key := range d.Keys[:2] {
		d.Must(leader, "PUT", path+"update", fmt.Sprintf(`{"key":%q,"nonce":%q}`, key, st.Nonce), nil)
	}
}

func (d *lossDrill) loseHSM(lost bool) {
	d.t.Helper()
	from, to := filepath.Join(d.token.Dir, "tokens"), filepath.Join(d.token.Dir, "tokens-lost")
	if !lost {
		from, to = to, from
	}
	if err := os.Rename(from, to); err != nil {
		d.t.Fatal(err)
	}
}

func (d *lossDrill) loseKMS(lost bool) {
	d.t.Helper()
	move := d.kms.Back
	if lost {
		move = d.kms.Away
	}
	if err := move(); err != nil {
		d.t.Fatal(err)
	}
}

// restart kills every node, starts them again, has each unsealed, and returns the leader.
func (d *lossDrill) restart(unseal func(i int)) int {
	d.t.Helper()
	d.restartAll(d.t)
	for i := range d.Nodes {
		unseal(i)
	}
	return d.Settled()
}

// breakGlass gives two shares to a node once its seals have failed.
func (d *lossDrill) breakGlass(i int) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	for _, key := range d.Keys[1:] {
		for {
			r, err := d.Nodes[i].Do(ctx, "PUT", "sys/break-glass", "", fmt.Sprintf(`{"key":%q}`, key))
			if err == nil && r.Code == 200 {
				break
			}
			if err != nil || !strings.Contains(string(r.Body), "have not failed") {
				d.t.Fatalf("break-glass of node %d: %d %s, %v", i, r.Code, r.Body, err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// verify verifies the transcript, which has each step.
func (d *lossDrill) verify(leader int) {
	d.t.Helper()
	var out struct{ Data json.RawMessage }
	d.Must(leader, "GET", "sys/recovery/transcript", "", &out)
	report, err := transcript.VerifyFile(bytes.NewReader(out.Data), nil, nil)
	if err != nil || !report.OK() {
		d.t.Fatalf("the transcript: %v, %+v", err, report)
	}
	var list struct{ Data struct{ Keys []string } }
	d.Must(leader, "LIST", "sys/recovery/transcripts", "", &list)
	got := map[string]int{}
	for _, name := range list.Data.Keys {
		_, purpose, _ := strings.Cut(name, "-")
		got[purpose]++
	}
	for purpose, want := range map[string]int{
		"seal-add": 3, "seal-remove": 2, "seal-policy": 1, "seal-rotate-key": 1, "seal-replace": 1,
		"authorize-seals": 5, "break-glass-enroll": 1, "break-glass": len(d.Nodes),
	} {
		if got[purpose] != want {
			d.t.Errorf("%d records of %s, want %d: %v", got[purpose], purpose, want, list.Data.Keys)
		}
	}
}
