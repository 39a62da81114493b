//go:build unix

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/hsm/softhsm"
	"github.com/sealgate/sealgate/internal/storage/etcd/etcdtest"
	"github.com/sealgate/sealgate/internal/storage/postgres/pgtest"
)

// TestRestoreDrill restores into another kind of storage, at a place that reaches only the second
// of the seals: the HSM and the disk of the server that made the snapshot are lost.
func TestRestoreDrill(t *testing.T) {
	t.Parallel()
	d := newRestoreDrill(t)
	for kind, stanza := range map[string]func(t *testing.T) string{
		"etcd": func(t *testing.T) string {
			return OnEtcd(etcdtest.Start(t, etcdtest.Options{NoSync: true}).Direct[0])
		},
		"postgresql": func(t *testing.T) string {
			return OnPostgres(pgtest.Start(t).Database(t))
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			d.restoredInto(t, stanza(t))
		})
	}
}

// restoreDrill is what is left of a server: its snapshot, its second seal, shares and a token.
type restoreDrill struct {
	stanza string // of the seal "aws"
	file   string
	shares []string
	root   string
}

func newRestoreDrill(t *testing.T) *restoreDrill {
	t.Helper()
	c := newCloud(t)
	token, err := softhsm.Init(filepath.Join(t.TempDir(), "token"), softhsm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.useToken(token)
	d := &restoreDrill{stanza: stanzaOf(t, c.harness), file: filepath.Join(t.TempDir(), "last.snap")}
	c.addConfig("seal \"pkcs11\" \"hsm\" {\n  key_label = \"root\"\n  generate_key = true\n}\n")
	c.mustStart()
	d.shares = c.mustInit()
	d.root = c.root
	c.mustPut("a", "kept")
	c.run(0, "", "operator", "snapshot", "save", d.file)
	c.mustStop()
	for _, lost := range []string{filepath.Join(token.Dir, "tokens"), filepath.Join(c.Dir, "data")} {
		if err := os.RemoveAll(lost); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// restoredInto restores into an empty storage, and removes the lost seal by a quorum.
func (d *restoreDrill) restoredInto(t *testing.T, storage string) {
	r := newHarness(t, t.TempDir(), "")
	peers, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.WriteConfig(fmt.Sprintf("%sapi_addr = \"http://%s\"\ncluster_addr = \"https://%s\"\nlistener \"tcp\" {\n"+
		"  address = %q\n  cluster_address = %q\n  tls_disable = true\n}\n%s%s", storage, r.Addr, peers, r.Addr, peers,
		d.stanza, socketListener)); err != nil {
		t.Fatal(err)
	}
	out, _ := r.run(0, "", "operator", "snapshot", "inspect", d.file)
	saysAll(t, "inspect", out, `pkcs11 "hsm", key `, `awskms "aws", key `, "1 of 2")
	r.mustStart()
	if st := r.status(); st.Initialized {
		t.Fatalf("the empty server: %+v", st)
	}
	r.run(0, "", "operator", "snapshot", "restore", d.file)
	r.root = d.root
	if err := r.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	restarted := func() {
		t.Helper()
		r.mustStop()
		r.mustStart()
		if err := r.UntilUnsealed(); err != nil {
			t.Fatalf("%v\n%s", err, tail(r.Log()))
		}
		r.mustGet("a", "kept")
	}
	restarted()
	reported := func() bool {
		return strings.Contains(string(r.must(200, "GET", "sys/seals", nil).Body), `has no stanza for seal \"hsm\"`)
	}
	r.eventually(patience, "the list of the seals names the lost one", reported)

	// The recovery shares of the snapshot's time authorise the removal of the lost seal.
	_, errs := r.run(2, "", "operator", "seals", "remove", "hsm")
	saysAll(t, "the removal without shares", errs, "needs a quorum of shares", "-purpose=seals -init")
	var st struct {
		Nonce    string
		Complete bool
	}
	r.runJSON(&st, "", "operator", "authorize", "-purpose=seals", "-init", "-change=remove hsm")
	r.runJSON(&st, strings.Join(d.shares[:3], "\n"), "operator", "authorize", "-purpose=seals", "-nonce="+st.Nonce, "-")
	if !st.Complete {
		t.Fatal("the recovery shares authorised nothing")
	}
	r.run(0, "", "operator", "seals", "remove", "hsm")
	var seals struct{ Data struct{ Policy string } }
	r.decode(r.must(200, "GET", "sys/seals", nil), &seals)
	if seals.Data.Policy != "any of aws" {
		t.Errorf("the policy is %q", seals.Data.Policy)
	}
	restarted()
	if reported() {
		t.Error("the list of the seals names the removed one")
	}
	r.mustPut("b", "new")
}
