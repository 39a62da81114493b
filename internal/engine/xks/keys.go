package xks

import (
	"context"
	"math"
	"strings"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/gateway/xks"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
)

func listKeys(b *backend, ctx context.Context, _ *mount.Request, name, _ string) (*mount.Response, error) {
	if _, err := b.find(ctx, name); err != nil {
		return nil, err
	}
	all, err := b.base.List(ctx, keyPrefix+name+"/", "", 0)
	if err != nil {
		return nil, err
	}
	return names(all), nil
}

func (b *backend) findKey(ctx context.Context, name, id string) (*xks.ExternalKey, error) {
	if _, err := b.find(ctx, name); err != nil {
		return nil, err
	}
	k, err := b.KeyOf(ctx, name, id)
	if err == nil && k == nil {
		err = errNoKey
	}
	return k, err
}

func readKey(b *backend, ctx context.Context, _ *mount.Request, name, id string) (*mount.Response, error) {
	k, err := b.findKey(ctx, name, id)
	if err != nil {
		return nil, err
	}
	return &mount.Response{Data: map[string]any{
		"id": id, "key": k.Key.Mount + "/" + k.Key.Name, "kms_key_arn": k.Pin, "proposed_kms_key_arn": k.Proposed,
		"disabled": k.State.Disabled, "no_encrypt": k.State.NoEncrypt, "no_decrypt": k.State.NoDecrypt,
		"sample_proxy": k.State.HashedAAD, "foreign_version": k.Foreign,
	}}, nil
}

// writeKey makes an external key or changes what is given of it. The key behind it cannot change:
// AWS has its ciphertexts.
func writeKey(b *backend, ctx context.Context, r *mount.Request, name, id string) (*mount.Response, error) {
	b.changing.Lock()
	defer b.changing.Unlock()
	if _, err := b.find(ctx, name); err != nil {
		return nil, err
	}
	old, err := b.KeyOf(ctx, name, id)
	if err != nil {
		return nil, err
	}
	next := xks.ExternalKey{ID: id}
	if old != nil {
		next = *old
	}
	if err := setKey(&next, field.Map(r.Data)); err != nil {
		return nil, err
	}
	if old != nil && old.Key != next.Key {
		return nil, fault.New(fault.Invalid, "the external key is %s/%s, and AWS has its ciphertexts: make another external "+
			"key", old.Key.Mount, old.Key.Name)
	}
	return nil, b.putKey(ctx, name, &next)
}

func setKey(k *xks.ExternalKey, m field.Map) error {
	var key string
	foreign := int64(k.Foreign)
	err := field.First(m.Text("key", &key), m.Text("kms_key_arn", &k.Pin), m.Flag("disabled", &k.State.Disabled),
		m.Flag("no_encrypt", &k.State.NoEncrypt), m.Flag("no_decrypt", &k.State.NoDecrypt),
		m.Flag("sample_proxy", &k.State.HashedAAD), m.Number("foreign_version", &foreign))
	if err != nil {
		return err
	}
	if key != "" {
		if k.Key, err = transitKey("key", key); err != nil {
			return err
		}
	}
	if k.State.HashedAAD && foreign == 0 {
		foreign = 1
	}
	switch {
	case k.Key.Name == "":
		return fault.New(fault.Invalid, "key is missing: name a transit key of type aes256-gcm96, such as transit/orders")
	case foreign < 0 || foreign > math.MaxInt32:
		return fault.New(fault.Invalid, "foreign_version must be the number of a key version, or 0")
	case m.Has("kms_key_arn"):
		if err := checkARN(k.Pin); err != nil && k.Pin != "" {
			return err
		}
		k.Proposed = ""
	}
	k.Foreign = uint32(foreign)
	return nil
}

// checkARN refuses what can be no KMS key. AWS's test client of the XKS API writes a slash before
// "key/", which AWS itself does not.
func checkARN(arn string) error {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[2] != "kms" || len(arn) > 2048 ||
		!strings.HasPrefix(strings.TrimPrefix(parts[5], "/"), "key/") {
		return fault.New(fault.Invalid, "kms_key_arn must be the ARN of a KMS key, such as "+
			"arn:aws:kms:eu-central-1:123456789012:key/...")
	}
	return nil
}

// confirmKey pins the KMS key that used the external key first. The client says which one it is, so
// that it confirms what it has seen.
func confirmKey(b *backend, ctx context.Context, r *mount.Request, name, id string) (*mount.Response, error) {
	b.changing.Lock()
	defer b.changing.Unlock()
	k, err := b.findKey(ctx, name, id)
	if err != nil {
		return nil, err
	}
	var arn string
	if err := field.Map(r.Data).Text("kms_key_arn", &arn); err != nil {
		return nil, err
	}
	switch {
	case k.Proposed == "":
		return nil, fault.New(fault.Invalid, "no KMS key is proposed for this external key: set kms_key_arn on it")
	case arn != k.Proposed:
		return nil, fault.New(fault.Invalid, "the proposed KMS key is %q: send it as kms_key_arn to confirm it", k.Proposed)
	}
	next := *k
	next.Pin, next.Proposed = k.Proposed, ""
	return nil, b.putKey(ctx, name, &next)
}

func removeKey(b *backend, ctx context.Context, _ *mount.Request, name, id string) (*mount.Response, error) {
	b.changing.Lock()
	defer b.changing.Unlock()
	return nil, b.commit(ctx, storage.Delete(keyPrefix+name+"/"+id))
}
