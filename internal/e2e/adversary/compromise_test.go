package adversary

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/static"
)

// oldKeys are the root key and the keyring, as who has a copy of the seal's key gets them.
func (a *target) oldKeys() *barrier.Archive {
	a.t.Helper()
	w, err := static.New(seals.Config{Name: "box", Type: "static", Params: map[string]string{
		"current_key_id": "k1", "current_key": strings.Repeat("5c", 32),
	}})
	if err != nil {
		a.t.Fatal(err)
	}
	set, err := seals.NewSet([]seals.Seal{{Name: "box", Type: "static", Wrapper: w}}, seals.Options{Deadline: time.Minute})
	if err != nil {
		a.t.Fatal(err)
	}
	record := a.record()
	root, err := set.Unwrap(a.t.Context(), record, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	defer root.Destroy()
	keys, err := barrier.OpenArchive(a.stored("core/keyring"), root, record.Generation)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(keys.Close)
	return keys
}

// rewrap is the state of a rewrap.
type rewrap struct {
	State, Phase, Problem string
	Retired               []int `json:"retired_terms"`
}

func (a *target) rewrap() rewrap {
	a.t.Helper()
	var r struct{ Data rewrap }
	a.must(200, "GET", "sys/rotate/rewrap", a.root, nil, &r)
	return r.Data
}

// TestOldKeysAfterACompromise: who has the old root key and the old keyring, and writes the
// storage, plants a token and a rewrap that is done, while the data is re-encrypted. Neither is
// believed, also after a kill -9, and the old term is destroyed.
func TestOldKeysAfterACompromise(t *testing.T) {
	t.Parallel()
	a := newTarget(t, staticSeal, "")
	kv := map[string]any{"type": "kv", "options": map[string]string{"version": "2"}}
	a.must(204, "POST", "sys/mounts/secret", a.root, kv, nil)
	for i := range 60 {
		a.must(200, "POST", fmt.Sprint("secret/data/", i), a.root, map[string]any{"data": map[string]int{"v": i}}, nil)
	}
	var made struct {
		Auth struct {
			Token string `json:"client_token"`
		}
	}
	a.must(200, "POST", "auth/token/create", a.root, map[string]any{"policies": []string{"root"}}, &made)
	with := a.entries()
	keys := a.oldKeys()
	a.must(204, "POST", "auth/token/revoke", a.root, map[string]string{"token": made.Auth.Token}, nil)
	without := a.entries()

	var r struct{ Data rewrap }
	a.must(200, "PUT", "sys/rotate", a.root, map[string]any{"compromised": true, "rate": 1}, &r)
	if r.Data.State != "running" || r.Data.Phase != "rewrap" {
		t.Fatalf("it answers before the control records are re-encrypted: %+v", r.Data)
	}
	var planted []string
	for key, value := range with {
		if strings.HasPrefix(key, "auth/") && !bytes.Equal(value, without[key]) {
			a.overwrite(key, value)
			planted = append(planted, key)
		}
	}
	if len(planted) == 0 {
		t.Fatal("nothing was planted")
	}
	if code := a.do("GET", "sys/mounts", made.Auth.Token, nil).Code; code/100 == 2 {
		t.Errorf("a planted root token: %d", code)
	}
	for _, key := range planted {
		if _, err := a.etcd.Delete(t.Context(), prefix+key); err != nil {
			t.Fatal(err)
		}
	}

	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	a.overwrite("core/rewrap", keys.Seal("core/rewrap", []byte(`{"v":1,"id":"x","state":"done","phase":"retire",`+
		`"target":2,"retire":true,"compromised":true,"passes":1}`)))
	a.start()
	if err := a.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	var job rewrap
	for deadline := time.Now().Add(90 * time.Second); job.State != "done"; time.Sleep(20 * time.Millisecond) {
		if job = a.rewrap(); time.Now().After(deadline) {
			t.Fatalf("the rewrap does not end: %+v", job)
		}
	}
	if len(job.Retired) != 1 || job.Retired[0] != 1 {
		t.Errorf("%+v", job)
	}
	var status struct {
		Data struct{ Terms []struct{ Term int } }
	}
	a.must(200, "GET", "sys/key-status", a.root, nil, &status)
	if len(status.Data.Terms) != 1 || status.Data.Terms[0].Term != 2 {
		t.Errorf("the terms are %+v", status.Data.Terms)
	}
	a.must(200, "GET", "secret/data/7", a.root, nil, nil)
	for key, value := range a.entries() {
		if _, err := keys.Open(key, value); err == nil {
			t.Errorf("the old keys open %q", key)
		}
	}
}
