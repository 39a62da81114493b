//go:build unix

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSealDrillOnEtcd moves a cluster of three nodes from one seal to an HSM, while it serves: the
// HSM is added once every node has proven it, both are needed for a time, a quorum removes the old
// seal, and the HSM's key is replaced. No request fails, every restart unseals, and the transcript
// has each change.
func TestSealDrillOnEtcd(t *testing.T) {
	t.Parallel()
	f := etcdClusterWithToken(t)
	f.Begin()
	leader := f.Settled()
	others := f.Others(leader)
	stop := f.load(func() []int { return []int{leader} })
	configure := func(i int, change func(string) string) { t.Helper(); f.reconfigure(t, i, change) }
	add := func(text string) string { return text + hsmStanza }
	configure(leader, add)
	configure(others[0], add)

	var c drillChange
	f.Must(leader, "PUT", "sys/seals/add", `{"name":"hsm"}`, &c)
	if c.Data.Done || len(c.Data.Waiting) != 1 || !strings.Contains(c.Data.Waiting[0], `no seal "hsm"`) {
		t.Fatalf("one node has no stanza: %+v", c.Data)
	}
	configure(others[1], add)
	f.changeSeals(others[0], "add", `{"name":"hsm"}`, "any of box, hsm") // by a standby, which forwards it
	f.changeSeals(leader, "policy", `{"threshold":2}`, "2 of box, hsm")
	f.wouldAllUnseal(t, leader, "2 of box, hsm")
	unfailed := func(done, failed int64) {
		t.Helper()
		if done == 0 || failed != 0 {
			t.Errorf("%d requests succeeded, %d failed", done, failed)
		}
	}
	unfailed(stop())
	f.restartAll(t)
	leader = f.Settled()
	stop = f.load(func() []int { return []int{leader} })

	f.authorizeSeals(leader, "policy 1")
	f.Must(leader, "PUT", "sys/seals/policy", `{"threshold":1}`, &c)
	f.authorizeSeals(leader, "remove box")
	f.Must(leader, "PUT", "sys/seals/remove", `{"name":"box"}`, &c)
	if c.Data.Policy != "any of hsm" {
		t.Fatalf("%+v", c.Data)
	}
	f.changeSeals(others[0], "rotate-key", `{"name":"hsm"}`, "any of hsm")
	f.wouldAllUnseal(t, leader, "any of hsm")
	unfailed(stop())
	for i := range f.Nodes {
		configure(i, func(text string) string { return sealStanza.ReplaceAllString(text, "") + hsmStanza })
	}
	f.restartAll(t)
	leader = f.Settled()
	var list struct{ Data struct{ Keys []string } }
	f.Must(leader, "LIST", "sys/recovery/transcripts", "", &list)
	want := "seal-add seal-policy authorize-seals seal-policy authorize-seals seal-remove seal-rotate-key"
	var got []string
	for _, name := range list.Data.Keys {
		_, purpose, _ := strings.Cut(name, "-")
		got = append(got, purpose)
	}
	if strings.Join(got, " ") != want {
		t.Errorf("transcript: %v", got)
	}
}

// drillChange is the answer to a change of the seals.
type drillChange struct {
	Data struct {
		Done    bool
		Policy  string
		Waiting []string
	}
}

// changeSeals repeats a change until every node has proven what it needs.
func (f *Cluster) changeSeals(node int, what, body, policy string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var c drillChange
	for ; !c.Data.Done; time.Sleep(50 * time.Millisecond) {
		r, err := f.Nodes[node].Do(ctx, "PUT", "sys/seals/"+what, f.Root, body)
		unproven := r.Code == 503 && strings.Contains(string(r.Body), "has not proven")
		if unproven && err == nil {
			continue
		}
		if err == nil && r.Code == 200 {
			err = json.Unmarshal(r.Body, &c)
		}
		if err != nil || r.Code != 200 {
			f.t.Fatalf("%s %s: %d %s, %v", what, body, r.Code, r.Body, err)
		}
	}
	if c.Data.Policy != policy {
		f.t.Fatalf("%s %s: %+v", what, body, c.Data)
	}
}

// wouldAllUnseal waits until every node reports that it would unseal under a policy.
func (f *Cluster) wouldAllUnseal(t *testing.T, leader int, policy string) {
	t.Helper()
	var last []byte
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		var forecast struct {
			Data struct {
				AllNodes bool `json:"all_nodes"`
				Nodes    []json.RawMessage
			}
		}
		var seals struct {
			Data struct {
				Policy   string
				Warnings []string
			}
		}
		f.Must(leader, "GET", "sys/seals/forecast", "", &forecast)
		f.Must(leader, "GET", "sys/seals", "", &seals)
		last, _ = json.Marshal([]any{forecast, seals})
		if forecast.Data.AllNodes && len(forecast.Data.Nodes) == 3 && seals.Data.Policy == policy {
			return
		}
	}
	t.Fatalf("not every node would unseal: %s", last)
}

// authorizeSeals lets a quorum authorise one change of the seals.
func (f *Cluster) authorizeSeals(leader int, change string) {
	f.t.Helper()
	var st struct{ Nonce string }
	begin, err := json.Marshal(map[string]string{"change": change})
	if err != nil {
		f.t.Fatal(err)
	}
	f.Must(leader, "PUT", "sys/authorize/seals/attempt", string(begin), &st)
	for _, key := range f.Keys[:2] {
		body, err := json.Marshal(map[string]string{"key": key, "nonce": st.Nonce})
		if err != nil {
			f.t.Fatal(err)
		}
		f.Must(leader, "PUT", "sys/authorize/seals/update", string(body), nil)
	}
}

// reconfigure changes the configuration of a node.
func (f *Cluster) reconfigure(t *testing.T, i int, change func(string) string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(f.Nodes[i].Dir, "sealgate.hcl"))
	if err == nil {
		err = f.Nodes[i].WriteConfig(change(string(text)))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// restartAll kills every node at once, and waits until all have unsealed.
func (f *Cluster) restartAll(t *testing.T) {
	t.Helper()
	for _, s := range f.Nodes {
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range f.Nodes {
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
	}
	for i, s := range f.Nodes {
		if err := s.UntilUp(); err != nil {
			t.Fatalf("node %d: %v\n%s", i, err, tail(s.Log()))
		}
	}
}
