package pkcs11

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/seals"
)

var (
	_ seals.KeyReplacer  = (*Wrapper)(nil)
	_ seals.KeyDestroyer = (*Wrapper)(nil)
)

// keySet is the keys that a stanza selects. A stanza without key_id selects every key with its
// key_label: a blob names the one that made it by label and id, and Encrypt uses the one that made
// the stored part. So a key is replaced by another with the same label and a new id, and no
// configuration changes.
type keySet struct {
	token *hsm.Token
	spec  hsm.KeySpec
	sole  *hsm.Key                // the only key that the stanza's own words select
	now   atomic.Pointer[hsm.Key] // that made the stored part; nil: sole

	mu    sync.Mutex
	known map[string]*hsm.Key // by the ids of the key and its HMAC key
}

// maxKnown bounds the keys that are remembered: blobs name them, and storage is not trusted.
const maxKnown = 16

func newKeySet(token *hsm.Token, spec hsm.KeySpec) (*keySet, error) {
	sole, err := token.Key(spec)
	if err != nil {
		return nil, err
	}
	return &keySet{token: token, spec: spec, sole: sole, known: map[string]*hsm.Key{}}, nil
}

// current returns the key that Encrypt uses.
func (k *keySet) current() *hsm.Key {
	if now := k.now.Load(); now != nil {
		return now
	}
	return k.sole
}

// seen describes the key that Encrypt uses, or another of the keys, without asking the token. ok is
// false before the first use.
func (k *keySet) seen() (info hsm.KeyInfo, ok bool) {
	if info, ok = k.current().Known(); ok {
		return info, true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.known {
		if info, ok = key.Known(); ok {
			return info, true
		}
	}
	return hsm.KeyInfo{}, false
}

// several reports whether the stanza selects every key with its label.
func (k *keySet) several() bool { return k.spec.Label != "" && k.spec.ID == nil }

// named returns the key that a blob names, nil where the stanza does not select it by its label.
func (k *keySet) named(info *wrapping.KeyInfo) *hsm.Key {
	label, id := URIParts(info.GetKeyId())
	if !k.several() || info.GetKeyId() == "" || label != k.spec.Label {
		return nil
	}
	spec := k.spec
	spec.ID = fromHex(id)
	if info.GetHmacKeyId() != "" && spec.HMACID == nil {
		label, id := URIParts(info.GetHmacKeyId())
		if label != spec.HMACLabel {
			return nil
		}
		spec.HMACID = fromHex(id)
	}
	return k.get(spec)
}

// fromHex returns an id; the empty one selects the key without an id.
func fromHex(text string) []byte {
	b, err := hex.DecodeString(text)
	if err != nil || b == nil {
		return []byte{}
	}
	return b
}

// get returns the key of a specification. The same specification gives the same key, which has
// proven its mechanism then.
func (k *keySet) get(spec hsm.KeySpec) *hsm.Key {
	k.mu.Lock()
	defer k.mu.Unlock()
	at := fmt.Sprintf("%x/%x", spec.ID, spec.HMACID)
	if key, ok := k.known[at]; ok {
		return key
	}
	key, err := k.token.Key(spec)
	if err != nil {
		return nil
	}
	if len(k.known) >= maxKnown {
		now := k.now.Load()
		maps.DeleteFunc(k.known, func(_ string, key *hsm.Key) bool { return key != now })
	}
	k.known[at] = key
	return key
}

// FollowKey implements [seals.KeyReplacer].
func (w *Wrapper) FollowKey(blob *wrapping.BlobInfo) {
	w.keys.now.Store(w.keys.named(blob.GetKeyInfo()))
}

// with runs f with the key that Encrypt uses. Where that is gone, it runs f with the only key that
// the stanza selects: an operator makes a new one under the same name if the old one is lost.
func (w *Wrapper) with(f func(*hsm.Key) error) error {
	key := w.keys.current()
	err := f(key)
	if errors.Is(err, hsm.ErrKeyNotFound) && key != w.keys.sole {
		return f(w.keys.sole)
	}
	return err
}

// errPinned is the cause where the stanza selects one key by its id.
var errPinned = errors.New("its stanza selects a single key by its id")

// pinned refuses to replace the key of a stanza that selects one key by its id.
func (w *Wrapper) pinned() error {
	s := w.settings.key
	if w.keys.several() && s.HMACID == nil {
		return nil
	}
	return seals.Fail(seals.Misconfigured, fmt.Errorf("seal \"pkcs11\" %q: %w", w.name, errPinned),
		"select the key by key_label alone on every node and reload them (SIGHUP), then try again; or add a seal with "+
			"the new key and remove this one")
}

// UseKey implements [seals.KeyReplacer]; the id is the key's CKA_ID in hexadecimal. Its HMAC key,
// if the mechanism has one, has the same id.
func (w *Wrapper) UseKey(id string) (wrapping.Wrapper, error) {
	if err := w.pinned(); err != nil {
		return nil, err
	}
	raw, err := ParseID(id)
	if err != nil {
		return nil, seals.Fail(seals.Misconfigured, err, "give the CKA_ID of the new key")
	}
	spec := w.settings.key
	spec.ID = raw
	if spec.HMACLabel != "" {
		spec.HMACID = raw
	}
	key := w.keys.get(spec)
	if key == nil {
		return nil, seals.Fail(seals.Misconfigured, hsm.ErrConfig, "correct the stanza")
	}
	other := &Wrapper{name: w.name, log: w.log, token: w.token, settings: w.settings,
		keys: &keySet{token: w.token, spec: spec, sole: key, known: map[string]*hsm.Key{}}}
	other.settings.key, other.settings.generate = spec, false
	return other, nil
}

// MakeKey implements [seals.KeyReplacer]: it makes a key with the same label and the given CKA_ID,
// and an HMAC key with that id where the seal has one.
func (w *Wrapper) MakeKey(ctx context.Context, id string) error {
	if err := w.pinned(); err != nil {
		return err
	}
	raw, err := ParseID(id)
	if err != nil {
		return seals.Fail(seals.Misconfigured, err, "give 32 hexadecimal digits")
	}
	ctx, cancel := w.within(ctx)
	defer cancel()
	var now hsm.KeyInfo
	err = w.with(func(key *hsm.Key) (err error) {
		now, err = key.Describe(ctx)
		return err
	})
	if err != nil {
		return w.failure(err)
	}
	s := w.settings.key
	wanted := []hsm.Template{{Kind: successorOf(now), Label: s.Label, ID: raw, SameLabel: true}}
	if s.HMACLabel != "" {
		wanted = append(wanted, hsm.Template{Kind: hsm.HMAC256, Label: s.HMACLabel, ID: raw, SameLabel: true})
	}
	for _, k := range wanted {
		switch err := w.token.Generate(ctx, k); {
		case err == nil:
			w.log.Warn("made a key on the HSM that is to replace the seal's", "seal", w.name, "kind", k.Kind.String(),
				"label", k.Label, "id", hex.EncodeToString(raw))
		case !errors.Is(err, hsm.ErrKeyExists):
			return w.cannotMake(err)
		}
	}
	return nil
}

// cannotMake adds how to adopt a key that another program made.
func (w *Wrapper) cannotMake(err error) error {
	f := *seals.Classify(w.failure(err))
	if f.Class != seals.Unreachable && f.Class != seals.Denied {
		f.Remedy = fmt.Sprintf("make a key with the label %q and a new CKA_ID by the vendor's tools, then: sealgate "+
			"operator seals rotate-key -key-id=HEX %s", w.settings.key.Label, w.name)
	}
	return &f
}

// successorOf returns the kind of the key that replaces another.
func successorOf(now hsm.KeyInfo) hsm.Kind {
	switch {
	case now.Mechanism != hsm.RSAOAEP:
		return hsm.AES256
	case now.Bits > 3072:
		return hsm.RSA4096
	}
	return hsm.RSA3072
}

// DestroyKey implements [seals.KeyDestroyer]. The HMAC key that the blob names is destroyed too.
func (w *Wrapper) DestroyKey(ctx context.Context, info *wrapping.KeyInfo, _ string) (string, error) {
	if err := w.pinned(); err != nil {
		return "", err
	}
	s := w.settings.key
	ctx, cancel := w.within(ctx)
	defer cancel()
	var now hsm.KeyInfo
	err := w.with(func(key *hsm.Key) (err error) {
		now, err = key.Describe(ctx)
		return err
	})
	if err != nil {
		return "", w.failure(err)
	}
	for _, old := range []struct{ uri, label, now string }{
		{info.GetKeyId(), s.Label, now.URI}, {info.GetHmacKeyId(), s.HMACLabel, now.HMACURI},
	} {
		label, id := URIParts(old.uri)
		switch {
		case old.uri == "" && old.label != s.Label:
			continue
		case label != old.label || id == "":
			return "", seals.Fail(seals.Misconfigured, fmt.Errorf("seal \"pkcs11\" %q: the key %.300q has another label than "+
				"the seal's, or no id", w.name, old.uri), "destroy it by the vendor's tools")
		case onToken(old.uri) == onToken(old.now), w.keys.now.Load() == nil:
			return "", seals.Fail(seals.Misconfigured, fmt.Errorf("seal \"pkcs11\" %q: the key %.300q is in use", w.name,
				old.uri), "rotate the key first")
		}
		if err := w.token.Destroy(ctx, label, fromHex(id)); err != nil && !errors.Is(err, hsm.ErrKeyNotFound) {
			return "", w.failure(err)
		}
	}
	return "destroyed", nil
}
