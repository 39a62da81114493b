package node

import (
	"context"
	"strings"
	"sync"
	"testing"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

// cabinet is a device with several keys of one name, and a seal on it. Blobs name their key in
// KeyInfo.KeyId.
type cabinet struct {
	h *harness

	mu   sync.Mutex
	keys map[string]wrapping.Wrapper
	now  string
	gone []string
}

func (h *harness) cabinet(first string) *cabinet {
	c := &cabinet{h: h, keys: map[string]wrapping.Wrapper{}, now: first}
	c.put(first)
	return c
}

func (c *cabinet) put(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys[id] = c.h.box(id[:2]).Wrapper
}

func (c *cabinet) use(id string) (wrapping.Wrapper, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w, ok := c.keys[id]; ok {
		return w, nil
	}
	return nil, seals.Fail(seals.KeyGone, errTest, "make key %s", id)
}

func (c *cabinet) current() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *cabinet) Encrypt(ctx context.Context, b []byte, o ...wrapping.Option) (*wrapping.BlobInfo, error) {
	return one{c, c.current()}.Encrypt(ctx, b, o...)
}

func (c *cabinet) Decrypt(ctx context.Context, b *wrapping.BlobInfo, o ...wrapping.Option) ([]byte, error) {
	w, err := c.use(b.GetKeyInfo().GetKeyId())
	if err != nil {
		return nil, err
	}
	return w.Decrypt(ctx, b, o...)
}

func (c *cabinet) Type(context.Context) (wrapping.WrapperType, error) { return "cabinet", nil }
func (c *cabinet) KeyId(context.Context) (string, error)              { return c.current(), nil }
func (c *cabinet) SetConfig(context.Context, ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	return nil, nil
}

func (c *cabinet) MakeKey(_ context.Context, id string) error {
	if _, err := c.use(id); err != nil {
		c.put(id)
	}
	return nil
}

func (c *cabinet) UseKey(id string) (wrapping.Wrapper, error) { return one{c, id}, nil }

func (c *cabinet) FollowKey(b *wrapping.BlobInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = b.GetKeyInfo().GetKeyId()
}

func (c *cabinet) DestroyKey(_ context.Context, k *wrapping.KeyInfo, _ string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.keys, k.GetKeyId())
	c.gone = append(c.gone, k.GetKeyId())
	return "destroyed", nil
}

// one is the cabinet with one of its keys.
type one struct {
	*cabinet
	id string
}

func (o one) Encrypt(ctx context.Context, b []byte, opts ...wrapping.Option) (*wrapping.BlobInfo, error) {
	w, err := o.use(o.id)
	if err != nil {
		return nil, err
	}
	blob, err := w.Encrypt(ctx, b, opts...)
	if err == nil {
		blob.KeyInfo.KeyId = o.id
	}
	return blob, err
}

// TestReplacedKeys: a key that others made is adopted; a rotation that cannot finish is ended; and
// nothing destroys a key that may be needed without a quorum's order, whichever way it is named.
func TestReplacedKeys(t *testing.T) {
	h := newHarness(t)
	c := h.cabinet("a0")
	n, _ := h.start(h.set(seals.Seal{Name: "hsm", Type: "cabinet", Wrapper: c}))
	out, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	sa := SealAdminOf(n)
	h.refused("no old key")(sa.Retire(t.Context(), "hsm", "", false, admin))
	h.refused("make key b0")(sa.RotateKey(t.Context(), "hsm", "b0", admin))
	h.refused("wraps the root key already")(sa.RotateKey(t.Context(), "hsm", "a0", admin))
	c.put("b0")
	h.change(sa.RotateKey(t.Context(), "hsm", "b0", admin))
	if k := partOf(h.record(), "hsm").KeyID; k != "b0" || c.current() != "b0" {
		t.Fatalf("the record's key is %s, the seal uses %s", k, c.current())
	}
	h.refused("no old key of seal \"hsm\" is named \"b0\"")(sa.Retire(t.Context(), "hsm", "b0", true, admin))

	// Adopting the old key and ending that must not be a way around the quorum.
	a := n.writer()
	tx := a.barrier.Begin()
	k, err := readSealKeys(t.Context(), a.barrier, "hsm")
	if err != nil {
		t.Fatal(err)
	}
	k.Next = &nextKey{ID: "a0", Adopted: true, At: h.clock()}
	if err := k.put(tx, "hsm"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.refused("is to replace that of seal")(sa.RotateKey(t.Context(), "hsm", "cc", admin))
	h.refused("quorum")(sa.Retire(t.Context(), "hsm", "a0", true, admin))
	if len(c.gone) != 0 {
		t.Fatalf("destroyed: %v", c.gone)
	}
	h.change(sa.Retire(t.Context(), "hsm", "a0", false, admin)) // the next key
	what, err := sa.Subject(t.Context(), h.asked(sa.Retire(t.Context(), "hsm", "a0", true, admin)))
	if err != nil || what.Change != "retire hsm: a0; policy: any(hsm)" {
		t.Fatalf("%+v, %v", what, err)
	}
	st, err := n.Ceremonies().Grants.Start(t.Context(), recovery.PurposeAuthorizeSeals, what, admin)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Ceremonies().Grants.Give(t.Context(), recovery.PurposeAuthorizeSeals, st.Nonce,
		out.RecoveryKeys[0]); err != nil {
		t.Fatal(err)
	}
	h.change(sa.Retire(t.Context(), "hsm", "a0", true, admin))
	if got := strings.Join(c.gone, " "); got != "a0" {
		t.Errorf("destroyed: %s", got)
	}
}
