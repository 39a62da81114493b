package xks

import (
	"bytes"
	"context"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/gateway"
	"github.com/sealgate/sealgate/internal/gateway/xks"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

// engine is a backend on a storage that another node can change.
type engine struct {
	*testing.T
	*backend
	base *inmem.Store
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	base := inmem.New()
	b, err := New(base, mount.Entry{})
	if err != nil {
		t.Fatal(err)
	}
	return &engine{t, b.(*backend), base}
}

func (e *engine) do(op mount.Operation, path string, data map[string]any) (*mount.Response, error) {
	e.Helper()
	return e.Handle(context.Background(), &mount.Request{Operation: op, Path: path, Data: data,
		Identity: token.Identity{Policies: []string{"ops"}}})
}

func (e *engine) must(op mount.Operation, path string, data map[string]any) *mount.Response {
	e.Helper()
	r, err := e.do(op, path, data)
	if err != nil {
		e.Fatalf("%s %s: %v", op, path, err)
	}
	return r
}

func (e *engine) refused(op mount.Operation, path string, data map[string]any, kind fault.Kind, words string) {
	e.Helper()
	_, err := e.do(op, path, data)
	if !fault.Is(err, kind) || !strings.Contains(err.Error(), words) {
		e.Errorf("%s %s %v: %v, want %q", op, path, data, err, words)
	}
}

func aStore() map[string]any {
	return map[string]any{"prefix": "/store-one", "policies": "ops", "health_key": "transit/health"}
}

func TestStores(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.must(mount.Update, "stores/one", aStore())
	for what, change := range map[string]map[string]any{
		"not and not a path":  {"prefix": "bad"},
		"must not begin with": {"prefix": "/v1/secret-x"},
		"policies is missing": {"policies": ""},
		"one of the token's":  {"policies": "ops,admin"},
		"cannot have the pol": {"policies": "root"},
		"health_key must be":  {"health_key": "health"},
		"first_use must be":   {"first_use": "maybe"},
	} {
		data := aStore()
		for name, v := range change {
			data[name] = v
		}
		kind := fault.Invalid
		if strings.HasPrefix(what, "one of") {
			kind = fault.Denied
		}
		e.refused(mount.Update, "stores/two", data, kind, strings.TrimPrefix(what, "not "))
	}
	e.refused(mount.Update, "stores/two", aStore(), fault.Invalid, "that of the store")
	e.refused(mount.Update, "stores/UPPER", aStore(), fault.NotFound, "path")
	for range maxCredentials {
		made := e.must(mount.Update, "stores/one/credentials", nil).Data.(map[string]any)
		shown := e.must(mount.Read, "stores/one/download", nil).Data.(map[string]any)
		if made["access_key_id"] != shown["access_key_id"] {
			t.Error("download shows another credential than the newest")
		}
	}
	e.refused(mount.Update, "stores/one/credentials", nil, fault.Limited, "at most")
	s, err := e.StoreOf(t.Context(), "/store-one")
	if err != nil || len(s.Credentials) != maxCredentials {
		t.Fatalf("%+v, %v", s, err)
	}
	first := s.Credentials[0].AccessKeyID
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	e.Used("one", first, at)
	if err := e.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	again, err := New(e.base, mount.Entry{})
	if err != nil {
		t.Fatal(err)
	}
	if uses, err := again.(*backend).lastUses(t.Context(), "one"); err != nil || !uses[first].Equal(at) {
		t.Errorf("last uses after a restart: %v, %v", uses, err)
	}
	e.must(mount.Delete, "stores/one/credentials/"+first, nil)
	e.refused(mount.Delete, "stores/one/credentials/"+first, nil, fault.NotFound, "no credential")
	e.must(mount.Update, "stores/one/keys/k", map[string]any{"key": "transit/a"})
	e.refused(mount.Delete, "stores/one", nil, fault.Invalid, "external keys")
	e.must(mount.Delete, "stores/one/keys/k", nil)
	e.must(mount.Delete, "stores/one", nil)
	if s, err := e.StoreOf(t.Context(), "/store-one"); s != nil || err != nil {
		t.Errorf("a removed store is there: %v, %v", s, err)
	}
}

func TestExternalKeys(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	const arn = "arn:aws:kms:eu-central-1:123456789012:key/1"
	e.refused(mount.Update, "stores/one/keys/k", map[string]any{"key": "transit/a"}, fault.NotFound,
		"no external key store")
	e.must(mount.Update, "stores/one", aStore())
	e.refused(mount.Update, "stores/one/keys/k", nil, fault.Invalid, "key is missing")
	for _, bad := range []string{"alias/x", "arn:aws:kms:eu-central-1:123456789012://key/1", "arn:aws:s3:::/key/1"} {
		e.refused(mount.Update, "stores/one/keys/k", map[string]any{"key": "transit/a", "kms_key_arn": bad},
			fault.Invalid, "ARN")
	}
	e.must(mount.Update, "stores/one/keys/client", map[string]any{"key": "transit/a",
		"kms_key_arn": "arn:aws:kms:us-east-2:123456789012:/key/1234abcd-12ab-34cd-56ef-1234567890ab"})
	e.must(mount.Update, "stores/one/keys/k", map[string]any{"key": "transit/a", "sample_proxy": true})
	e.refused(mount.Update, "stores/one/keys/k", map[string]any{"key": "transit/b"}, fault.Invalid, "has its ciphertexts")
	e.refused(mount.Update, "stores/one/keys/k/confirm", map[string]any{"kms_key_arn": arn}, fault.Invalid, "no KMS key")
	for range 2 {
		if k, err := e.Propose(t.Context(), "one", "k", arn); err != nil || k.Proposed != arn {
			t.Fatalf("%+v, %v", k, err)
		}
	}
	if k, err := e.Propose(t.Context(), "one", "k", arn+"2"); err != nil || k.Proposed != arn {
		t.Errorf("a second proposal: %+v, %v", k, err)
	}
	e.refused(mount.Update, "stores/one/keys/k/confirm", map[string]any{"kms_key_arn": arn + "2"}, fault.Invalid, arn)
	e.must(mount.Update, "stores/one/keys/k/confirm", map[string]any{"kms_key_arn": arn})
	k, err := e.KeyOf(t.Context(), "one", "k")
	if err != nil || k.Pin != arn || k.Proposed != "" || k.Foreign != 1 || !k.State.HashedAAD {
		t.Errorf("%+v, %v", k, err)
	}
	if k, err := e.KeyOf(t.Context(), "one", "none"); k != nil || err != nil {
		t.Errorf("%+v, %v", k, err)
	}
}

// TestAnotherNodesChanges: what a node keeps in memory ends with the change of another node.
func TestAnotherNodesChanges(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.must(mount.Update, "stores/one", aStore())
	e.must(mount.Update, "stores/one/keys/k", map[string]any{"key": "transit/a"})
	other := &engine{t, nil, e.base}
	b, err := New(e.base, mount.Entry{})
	if err != nil {
		t.Fatal(err)
	}
	other.backend = b.(*backend)
	for _, x := range []*engine{e, other} {
		if k, err := x.KeyOf(t.Context(), "one", "k"); err != nil || k.State.Disabled {
			t.Fatalf("%+v, %v", k, err)
		}
	}
	e.must(mount.Update, "stores/one/keys/k", map[string]any{"disabled": true})
	e.must(mount.Update, "stores/one", map[string]any{"disabled": true})
	other.Invalidate("k/one/k")
	other.Invalidate("s/one")
	if k, err := other.KeyOf(t.Context(), "one", "k"); err != nil || !k.State.Disabled {
		t.Errorf("%+v, %v", k, err)
	}
	if s, err := other.StoreOf(t.Context(), "/store-one"); err != nil || !s.Disabled {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestRecords: the formats of version 1.
func TestRecords(t *testing.T) {
	t.Parallel()
	at := time.Unix(0, 1).UTC()
	s := &store{Description: "d", Store: xks.Store{Name: "one", Prefix: "/store-one", Region: "r", Disabled: true,
		Policies: []string{"p", "q"}, HealthKey: gateway.Key{Mount: "m", Name: "n"},
		Credentials: []xks.Credential{{AccessKeyID: "AB", Secret: secret.New([]byte("s")), Created: at}}}}
	raw, err := s.marshal()
	if err != nil {
		t.Fatal(err)
	}
	const storeHex = "0101" + "0a2f73746f72652d6f6e65" + "0172" + "016d" + "016e" + "000164" + "00040170" + "0171" +
		"024142" + "0173" + "0000000000000001"
	if got := hex.EncodeToString(raw.Expose()); got != storeHex {
		t.Errorf("a store is %s, want %s", got, storeHex)
	}
	back, err := parseStore("one", raw.Expose())
	if err != nil || back.Prefix != s.Prefix || !back.Disabled || back.FirstUse || len(back.Policies) != 2 ||
		!back.Credentials[0].Secret.Equal(s.Credentials[0].Secret) {
		t.Errorf("%+v, %v", back, err)
	}
	k := &xks.ExternalKey{ID: "k", Key: gateway.Key{Mount: "m", Name: "n"}, Pin: "a", Proposed: "b", Foreign: 2,
		State: xks.KeyState{NoDecrypt: true, HashedAAD: true}}
	keyRaw, err := marshalKey(k)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(keyRaw); got != "010c00000002016d016e000161000162" {
		t.Errorf("an external key is %s", got)
	}
}

func FuzzRecords(f *testing.F) {
	for _, seed := range []string{"01010a2f73746f72652d6f6e650172016d016e000164000401700171024142017300000000000000ff",
		"010c00000002016d016e000161000162", "01"} {
		raw, err := hex.DecodeString(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseStore("x", b); err == nil {
			if raw, err := s.marshal(); err != nil || !bytes.Equal(raw.Expose(), b) {
				t.Errorf("a store: %x decodes and encodes to another record, %v", b, err)
			}
		}
		if k, err := parseKey("x", b); err == nil {
			if raw, err := marshalKey(k); err != nil || !bytes.Equal(raw, b) {
				t.Errorf("a key: %x decodes and encodes to %x, %v", b, raw, err)
			}
		}
	})
}

// TestDamagedRecordsAreNamed: a damaged record is an error of the server, not an absent store.
func TestDamagedRecordsAreNamed(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.must(mount.Update, "stores/one", aStore())
	put := func(key string) {
		t.Helper()
		if err := e.base.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Put(key, []byte{9})}}); err != nil {
			t.Fatal(err)
		}
		e.Invalidate(key)
	}
	put("k/one/k")
	if _, err := e.KeyOf(t.Context(), "one", "k"); !fault.Is(err, fault.Internal) {
		t.Errorf("a damaged key: %v", err)
	}
	put("s/one")
	if _, err := e.StoreOf(t.Context(), "/store-one"); !fault.Is(err, fault.Internal) {
		t.Errorf("a damaged store: %v", err)
	}
}
