//go:build unix

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// migrated reports whether node i serves, and what holds the root key.
func (f *Cluster) migrated(i int) (policy string, ok bool) {
	var list struct{ Data struct{ Policy string } }
	if f.Nodes[i].Pid() == 0 || f.Role(i) != 200 {
		return "", false
	}
	f.Must(i, "GET", "sys/seals", "", &list)
	return list.Data.Policy, true
}

// killed kills a node and starts it again.
func (f *Cluster) killed(t *testing.T, i int) {
	t.Helper()
	err := f.Nodes[i].Kill()
	if err == nil {
		err = f.Nodes[i].Start()
	}
	if err == nil {
		err = f.Nodes[i].UntilUp()
	}
	if err != nil {
		t.Fatalf("node %d: %v\n%s", i, err, tail(f.Nodes[i].Log()))
	}
}

// TestRollingSealMigrationOnEtcd moves a cluster of three nodes to an HSM as Vault's runbooks
// do: the standbys restart with the old stanza disabled and take shares with -migrate, then the
// leader is killed, and the one that follows it as well while it migrates. The third ends the
// migration or finds it done; every restart unseals then, and the transcript has the migration
// once.
func TestRollingSealMigrationOnEtcd(t *testing.T) {
	t.Parallel()
	f := etcdClusterWithToken(t)
	f.Begin()
	leader := f.Settled()
	if !f.Put(t.Context(), leader, "kept", "yes") {
		t.Fatal("the value was not written")
	}
	for i := range f.Nodes {
		f.reconfigure(t, i, func(text string) string {
			return strings.Replace(text, "\"box\" {\n", "\"box\" {\n  disabled = \"true\"\n", 1) + hsmStanza
		})
	}
	for _, i := range f.Others(leader) {
		f.killed(t, i)
		for _, key := range f.Keys[:2] {
			f.Must(i, "PUT", "sys/unseal", fmt.Sprintf(`{"key":%q,"migrate":true}`, key), nil)
		}
	}
	f.Settled()
	f.killed(t, leader)
	next := f.Leader(leader)
	f.killed(t, next)
	var policy string
	for deadline := time.Now().Add(2 * time.Minute); policy != "any of hsm"; time.Sleep(50 * time.Millisecond) {
		for i := range f.Nodes {
			if p, ok := f.migrated(i); ok {
				policy = p
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the root key is held by %q", policy)
		}
	}
	for i := range f.Nodes {
		f.reconfigure(t, i, func(text string) string {
			return sealStanza.ReplaceAllString(text, "") + hsmStanza
		})
	}
	f.restartAll(t)
	leader = f.Settled()
	if value, code := f.Get(t.Context(), leader, "kept"); value != "yes" {
		t.Errorf("kept: %q, %d", value, code)
	}
	var list struct{ Data struct{ Keys []string } }
	f.Must(leader, "LIST", "sys/recovery/transcripts", "", &list)
	if len(list.Data.Keys) != 1 || !strings.HasSuffix(list.Data.Keys[0], "-seal-migrate") {
		t.Errorf("transcript: %v", list.Data.Keys)
	}
}
