package cosigner

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery/transcript"
	"github.com/sealgate/sealgate/recovery/transcript/cosign"
)

// pathSetting is the entry of the setting: JSON of a document.
const pathSetting = "core/transcript/signer"

const settingVersion = 1

// maxEnded is how many former keys a setting keeps, so that what they did not sign in time can
// still be signed.
const maxEnded = 8

// document is the setting:
//
//	{"v":1, "keys":[{"managed_key":"<type>/<name>", "key_type":"ecdsa-p256", "reference":"<base64>",
//	                 "public_key":"<PKIX, base64>", "from":7, "hash":"<hex>", "until":12}, ...]}
type document struct {
	Version int       `json:"v"`
	Keys    []*signer `json:"keys"` // by From; the last one may be in use
}

// signer is a key with the records that it signs.
type signer struct {
	Key       string          `json:"managed_key"` // "<type>/<name>"
	Type      string          `json:"key_type"`
	Reference []byte          `json:"reference"` // of package device
	Public    []byte          `json:"public_key"`
	From      uint64          `json:"from"` // the record of the change that chose it
	Hash      transcript.Hash `json:"hash"` // of that record
	Until     uint64          `json:"until,omitempty"`

	line        string // of authorized_keys
	fingerprint string
}

// current is the key in use, nil for none.
func (d *document) current() *signer {
	if n := len(d.Keys); n > 0 && d.Keys[n-1].Until == 0 {
		return d.Keys[n-1]
	}
	return nil
}

// end ends the use of the current key with a record.
func (d *document) end(record uint64) {
	if k := d.current(); k != nil {
		k.Until = record
	}
	d.Keys = d.Keys[max(0, len(d.Keys)-maxEnded):]
}

func readDocument(ctx context.Context, b *barrier.Barrier) (*document, error) {
	raw, err := b.Get(ctx, pathSetting)
	if errors.Is(err, storage.ErrNotFound) {
		return &document{Version: settingVersion}, nil
	}
	if err != nil {
		return nil, barrier.Fault(err, "the setting of the key that signs the transcript could not be read")
	}
	return parseDocument(raw)
}

func parseDocument(raw []byte) (*document, error) {
	malformed := fmt.Errorf("cosigner: entry %s is malformed, or of a newer program", pathSetting)
	d := &document{}
	if err := json.Unmarshal(raw, d); err != nil || d.Version != settingVersion {
		return nil, malformed
	}
	for _, k := range d.Keys {
		if k == nil {
			return nil, malformed
		}
		public, err := x509.ParsePKIXPublicKey(k.Public)
		if err == nil {
			k.line, k.fingerprint, err = cosign.PublicKey(public)
		}
		if err != nil {
			return nil, fmt.Errorf("cosigner: entry %s has a key that cannot be read: %w", pathSetting, err)
		}
	}
	return d, nil
}

func (d *document) put(tx *barrier.Tx) error {
	raw, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("cosigner: encoding %s: %w", pathSetting, err)
	}
	tx.Put(pathSetting, raw)
	return nil
}

// material is what package keys needs to open the key.
func (k *signer) material() (spec keys.Spec, m keys.Material, err error) {
	spec.Type, err = keys.ParseType(k.Type)
	return spec, keys.Material{Reference: secret.Copy(k.Reference), Public: k.Public}, err
}

// reserved keeps the key from mounts.
func (k *signer) reserved() (device.Reserved, error) {
	held, err := device.HeldBy(k.Reference)
	if err != nil {
		return device.Reserved{}, err
	}
	return device.Reserved{Type: typeOf(k.Key), Identity: held.Identity, Label: k.Key, Active: k.Until == 0}, nil
}
