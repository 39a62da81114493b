package adversary

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sealgate/sealgate/internal/e2e"
	"github.com/sealgate/sealgate/internal/storage/etcd/etcdtest"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/shamir"
)

// wiretap is a Shamir cluster whose attacker reads all of its etcd.
type wiretap struct {
	*e2e.Cluster
	t    *testing.T
	etcd *clientv3.Client
}

func (w *wiretap) stored(key string) []byte {
	w.t.Helper()
	r, err := w.etcd.Get(w.t.Context(), prefix+key)
	if err != nil || len(r.Kvs) != 1 {
		w.t.Fatalf("%s: %d entries, %v", key, len(r.Kvs), err)
	}
	return r.Kvs[0].Value
}

// rootKey unwraps the root key as the holders of the shares can.
func (w *wiretap) rootKey(shares []string) *seals.Secret {
	w.t.Helper()
	root, _ := unwrapByShares(w.t, w.stored("core/seal"), shares)
	return root
}

// unwrapByShares returns the root key of a sealed record, and the seed that the shares combine to.
func unwrapByShares(t *testing.T, sealed []byte, shares []string) (root *seals.Secret, seed *recovery.Secret) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	record, err := seals.UnmarshalRecord(sealed)
	must(err)
	set, err := recovery.UnmarshalShareSet(record.ShareSet)
	must(err)
	provider, err := shamir.New(seals.Config{Name: "shamir", Type: "shamir"})
	must(err)
	all, err := seals.NewSet([]seals.Seal{{Name: "shamir", Type: "shamir", Wrapper: provider}}, seals.Options{})
	must(err)
	defer all.Close() //nolint:errcheck // it has no connection
	unsealing := recovery.NewUnsealing(set, nil)
	for _, text := range shares[:2] {
		share, err := recovery.ParseShare(text)
		must(err)
		seed, err = unsealing.Give(share)
		must(err)
	}
	quorum, err := all.Quorum().For(set.PublicKey)
	must(err)
	unlocked := quorum.(seals.Quorum) //nolint:forcetypeassert // For returns the same provider
	must(unlocked.Unlock(seed.Expose()))
	defer unlocked.Lock()
	root, err = all.Unwrap(t.Context(), record, quorum)
	must(err)
	return root, seed
}

// handOver decrypts the entry of a generation with the root key before, as the attacker who has
// that key does.
func (w *wiretap) handOver(generation uint64, old *seals.Secret) []byte {
	w.t.Helper()
	path := fmt.Sprintf("core/root-handover/%020d", generation)
	record := w.stored(path)
	block, err := aes.NewCipher(old.Expose())
	if err != nil {
		w.t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		w.t.Fatal(err)
	}
	const header, nonce = 9, 12
	aad := append([]byte("sealgate/barrier/root-handover/v2\x00"+path+"\x00"), record[:header]...)
	plain, err := aead.Open(nil, record[header:header+nonce], record[header+nonce:], aad)
	if err != nil {
		w.t.Fatalf("%s does not open with the root key before: %v", path, err)
	}
	return plain
}

// announced waits until the leader knows every standby.
func (w *wiretap) announced() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		var out struct {
			Data struct{ Nodes []json.RawMessage }
		}
		r, err := w.Nodes[0].Do(ctx, "GET", "sys/ha-status", w.Root, nil)
		if err == nil && r.Code == 200 && r.Decode(&out) == nil && len(out.Data.Nodes) == len(w.Nodes) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	w.t.Fatal("the leader does not know its standbys")
}

// follow checks that every node serves under the new root key without a share, and that another
// one can lead.
func (w *wiretap) follow(value string) {
	w.t.Helper()
	leader := w.Settled()
	for i := range w.Nodes {
		if !w.Put(w.t.Context(), i, "after", value+fmt.Sprint(i)) {
			w.t.Errorf("node %d takes no write", i)
		}
		for j := range w.Nodes {
			if got, code := w.Get(w.t.Context(), j, "after"); got != value+fmt.Sprint(i) {
				w.t.Errorf("node %d reads %q (%d)", j, got, code)
			}
		}
	}
	w.Must(leader, "PUT", "sys/step-down", "", nil)
	if next := w.Leader(leader); !w.Put(w.t.Context(), next, "led", value) {
		w.t.Error("the next leader takes no write")
	}
	w.Settled()
}

// TestNewRootKeyReachesStandbys: under a Shamir seal, a rotation of the root key and a rekey reach
// the standbys by keys that they announced over mutual TLS. An attacker who has the root key of
// before and reads all of the storage does not learn the new one.
func TestNewRootKeyReachesStandbys(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{Members: 1, NoSync: true})
	w := &wiretap{t: t, etcd: c.Client(), Cluster: e2e.NewShamirCluster(t, binary, func(int) string {
		return e2e.OnEtcd(c.Endpoints[0])
	}, 3)}
	w.Begin()
	secret := func(what string, generation uint64, old, root *seals.Secret) {
		t.Helper()
		plain := w.handOver(generation, old)
		if len(plain) == 0 || plain[0] != 3 {
			t.Errorf("%s: the hand-over has not a part for each of 3 nodes", what)
		}
		for _, entry := range [][]byte{plain, w.everything()} {
			if bytes.Contains(entry, root.Expose()) {
				t.Errorf("%s: the new root key is in the storage, or under the root key before", what)
			}
		}
	}
	w.announced()
	first := w.rootKey(w.Keys)
	w.Must(0, "PUT", "sys/rotate/root", "", nil)
	second := w.rootKey(w.Keys)
	if first.Equal(second) {
		t.Fatal("the root key was not rotated")
	}
	secret("rotation", 2, first, second)
	w.follow("rotated")

	w.announced()
	var st struct {
		Nonce string
		Keys  []string
	}
	w.Must(0, "PUT", "sys/rekey/init", `{"secret_shares":3,"secret_threshold":2}`, &st)
	nonce := st.Nonce
	for _, key := range w.Keys[:2] {
		w.Must(0, "PUT", "sys/rekey/update", fmt.Sprintf(`{"key":%q,"nonce":%q}`, key, nonce), &st)
	}
	third := w.rootKey(st.Keys)
	secret("rekey", 3, second, third)
	w.follow("rekeyed")
}

// everything is all of the storage, as its attacker reads it.
func (w *wiretap) everything() []byte {
	w.t.Helper()
	r, err := w.etcd.Get(w.t.Context(), "", clientv3.WithPrefix())
	if err != nil {
		w.t.Fatal(err)
	}
	var all []byte
	for _, kv := range r.Kvs {
		all = append(all, kv.Value...)
	}
	return all
}
