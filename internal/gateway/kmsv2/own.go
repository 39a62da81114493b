package kmsv2

import (
	"context"
	"strconv"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/gateway"
	"github.com/sealgate/sealgate/internal/keys"
)

// Own is a transit key of the server that the socket belongs to. Every call of an API server is in
// the audit trail, and the policies decide as they do for transit: update on
// "<mount>/encrypt/<key>" and "<mount>/decrypt/<key>". Proofs are not audited: they concern no data
// of anybody.
type Own struct {
	Core    *gateway.Core
	Key     gateway.Key
	Caller  gateway.Caller
	Cluster func() string // the id of the cluster, once the node is unsealed
}

const (
	proofUID = "proof"
	protocol = "kmsv2"
)

// Newest implements [Key]. It needs the right to encrypt and to decrypt.
func (o *Own) Newest(ctx context.Context) (p Pin, err error) {
	err = o.Core.Roles.Do(ctx, func(ctx context.Context, v gateway.View) error {
		for _, operation := range []string{"encrypt", "decrypt"} {
			if _, err := v.Authorize(ctx, o.Caller, o.Key.Path(operation), nil); err != nil {
				return err
			}
		}
		k, err := v.Open(ctx, o.Key, o.Caller.Name)
		if err != nil {
			return err
		}
		_, p.Version = k.Versions()
		f, err := k.Fingerprint(ctx, p.Version)
		p.KeyID = KeyID(o.Cluster(), o.Key.Mount, o.Key.Name, p.Version, f[:])
		return err
	})
	return p, err
}

// Encrypt implements [Key].
func (o *Own) Encrypt(ctx context.Context, c Call, p Pin, plaintext, aad []byte) ([]byte, error) {
	shown := map[string]string{"key_id": p.KeyID, "key_version": strconv.Itoa(p.Version)}
	return o.do(ctx, c, "encrypt", shown, func(ctx context.Context, k *keys.Named) ([]byte, error) {
		_, blob, err := k.EncryptBy(ctx, p.Version, plaintext, aad)
		if err != nil {
			return nil, err
		}
		return AppendCiphertext(nil, p.Version, blob), nil
	})
}

// Decrypt implements [Key].
func (o *Own) Decrypt(ctx context.Context, c Call, keyID string, ciphertext, aad []byte) ([]byte, error) {
	version, blob, err := SplitCiphertext(ciphertext)
	if err != nil {
		return nil, err
	}
	shown := map[string]string{"key_id": keyID, "key_version": strconv.Itoa(version)}
	return o.do(ctx, c, "decrypt", shown, func(ctx context.Context, k *keys.Named) ([]byte, error) {
		return k.Decrypt(ctx, version, blob, aad)
	})
}

// do authorises, audits and carries out a call.
func (o *Own) do(ctx context.Context, c Call, operation string, shown map[string]string,
	work func(ctx context.Context, k *keys.Named) ([]byte, error),
) ([]byte, error) {
	authorize := func(ctx context.Context, v gateway.View) ([]string, error) {
		return v.Authorize(ctx, o.Caller, o.Key.Path(operation), nil)
	}
	use := func(ctx context.Context, v gateway.View) ([]byte, map[string]string, error) {
		k, err := v.Open(ctx, o.Key, o.Caller.Name)
		if err != nil {
			return nil, nil, err
		}
		b, err := work(ctx, k)
		return b, nil, err
	}
	if c.UID == proofUID && c.Peer == "" {
		var b []byte
		err := o.Core.Roles.Do(ctx, func(ctx context.Context, v gateway.View) (err error) {
			if _, err := authorize(ctx, v); err != nil {
				return err
			}
			b, _, err = use(ctx, v)
			return err
		})
		return b, err
	}
	if c.Peer == "" {
		return nil, fault.New(fault.Denied, "the user of the calling process is not known")
	}
	shown["uid"], shown["peer_uid"] = c.UID, c.Peer
	return gateway.Audited(ctx, o.Core, o.Caller, gateway.Entry{Path: o.Key.Path(operation), Type: protocol, Shown: shown},
		authorize, use)
}
