package adversary

import (
	"bytes"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// entries are all stored entries, by key.
func (a *target) entries() map[string][]byte {
	a.t.Helper()
	r, err := a.etcd.Get(a.t.Context(), prefix, clientv3.WithPrefix())
	if err != nil {
		a.t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, kv := range r.Kvs {
		all[strings.TrimPrefix(string(kv.Key), prefix)] = kv.Value
	}
	return all
}

// TestStorageWriterPutsBackWhatEnded: a storage writer keeps the entries of a token, a password and
// a secret id. Once the terms of before are retired, none of them comes back.
func TestStorageWriterPutsBackWhatEnded(t *testing.T) {
	t.Parallel()
	a := newTarget(t, staticSeal, "")
	a.must(204, "POST", "sys/auth/userpass", a.root, map[string]string{"type": "userpass"}, nil)
	a.must(204, "POST", "auth/userpass/users/mallory", a.root, map[string]string{"password": "before"}, nil)
	a.must(204, "POST", "sys/auth/approle", a.root, map[string]string{"type": "approle"}, nil)
	a.must(204, "POST", "auth/approle/role/ci", a.root, map[string]any{"token_policies": "default"}, nil)
	var role struct {
		Data struct {
			ID string `json:"role_id"`
		}
	}
	a.must(200, "GET", "auth/approle/role/ci/role-id", a.root, nil, &role)
	var made struct {
		Auth struct {
			Token string `json:"client_token"`
		}
	}
	a.must(200, "POST", "auth/token/create", a.root, map[string]any{"policies": []string{"root"}}, &made)
	token := made.Auth.Token
	tries := map[string]func() int{
		"a root token that was revoked": func() int { return a.do("GET", "sys/mounts", token, nil).Code },
		"a password that was changed": func() int {
			return a.do("POST", "auth/userpass/login/mallory", "", map[string]string{"password": "before"}).Code
		},
		"a secret id that was spent": func() int {
			return a.do("POST", "auth/approle/login", "", map[string]string{"role_id": role.Data.ID, "secret_id": "once"}).Code
		},
	}
	a.must(200, "POST", "auth/approle/role/ci/custom-secret-id", a.root,
		map[string]any{"secret_id": "once", "num_uses": 1}, nil)
	before := a.entries()
	a.must(204, "POST", "auth/userpass/users/mallory", a.root, map[string]string{"password": "after"}, nil)
	a.must(204, "POST", "auth/token/revoke", a.root, map[string]string{"token": token}, nil)
	if code := tries["a secret id that was spent"](); code != 200 {
		t.Fatalf("the secret id logs in: %d", code)
	}
	after := a.entries()
	a.must(200, "PUT", "sys/rotate", a.root, map[string]any{"rewrap": true, "retire": true}, nil)
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var r struct {
			Data struct{ State, Problem string }
		}
		a.must(200, "GET", "sys/rotate/rewrap", a.root, nil, &r)
		if r.Data.State == "done" || r.Data.State == "none" {
			break
		}
		if r.Data.State != "running" || time.Now().After(deadline) {
			t.Fatalf("the rewrap: %+v", r.Data)
		}
	}
	put := 0
	for key, value := range before {
		if strings.HasPrefix(key, "core/") || bytes.Equal(value, after[key]) {
			continue
		}
		a.overwrite(key, value)
		put++
	}
	if put < 3 {
		t.Fatalf("only %d entries were put back", put)
	}
	for name, try := range tries {
		if code := try(); code/100 == 2 {
			t.Errorf("%s is valid again: %d", name, code)
		}
	}
	a.must(200, "GET", "sys/mounts", a.root, nil, nil)
}
