package xks

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/gateway"
	"github.com/sealgate/sealgate/internal/gateway/xks"
	"github.com/sealgate/sealgate/internal/secret"
)

// errRecord is returned for stored bytes that are no record of this package.
var errRecord = errors.New("xks: not a valid record")

const recordVersion = 1

// store is the record at "s/<store>":
//
//	version u8 = 1 | flags u8: 1 disabled, 2 first use | prefix, region u8-length each |
//	health key: mount, name u8-length each | description u16-length |
//	policies u16-length: each u8-length |
//	each credential: access key id u8-length, secret u8-length, created i64, ns since 1970
type store struct {
	xks.Store
	Description string
}

const (
	flagDisabled = 1
	flagFirstUse = 2
)

func addText(b *cryptobyte.Builder, texts ...string) {
	for _, t := range texts {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(t)) })
	}
}

func addLong(b *cryptobyte.Builder, texts ...string) {
	for _, t := range texts {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(t)) })
	}
}

func readTexts(in *cryptobyte.String, into ...*string) bool {
	for _, t := range into {
		var s cryptobyte.String
		if !in.ReadUint8LengthPrefixed(&s) {
			return false
		}
		*t = string(s)
	}
	return true
}

func readLong(in *cryptobyte.String, into ...*string) bool {
	for _, t := range into {
		var s cryptobyte.String
		if !in.ReadUint16LengthPrefixed(&s) {
			return false
		}
		*t = string(s)
	}
	return true
}

func bit(on bool, flag uint8) uint8 {
	if on {
		return flag
	}
	return 0
}

// marshal returns a record with secrets, which the caller destroys.
func (s *store) marshal() (*secret.Bytes, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, 4096))
	b.AddUint8(recordVersion)
	b.AddUint8(bit(s.Disabled, flagDisabled) | bit(s.FirstUse, flagFirstUse))
	addText(b, s.Prefix, s.Region, s.HealthKey.Mount, s.HealthKey.Name)
	addLong(b, s.Description)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { addText(b, s.Policies...) })
	for _, c := range s.Credentials {
		addText(b, c.AccessKeyID)
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(c.Secret.Expose()) })
		b.AddUint64(uint64(c.Created.UnixNano()))
	}
	raw, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("xks: encoding a store: %w", err)
	}
	return secret.New(raw), nil
}

func parseStore(name string, raw []byte) (*store, error) {
	in := cryptobyte.String(raw)
	s := &store{Store: xks.Store{Name: name}}
	var version, flags uint8
	var policies cryptobyte.String
	if !in.ReadUint8(&version) || version != recordVersion || !in.ReadUint8(&flags) || flags > flagDisabled|flagFirstUse ||
		!readTexts(&in, &s.Prefix, &s.Region, &s.HealthKey.Mount, &s.HealthKey.Name) || !readLong(&in, &s.Description) ||
		!in.ReadUint16LengthPrefixed(&policies) {
		return nil, fmt.Errorf("%w: version %d of a store is expected", errRecord, recordVersion)
	}
	s.Disabled, s.FirstUse = flags&flagDisabled != 0, flags&flagFirstUse != 0
	for !policies.Empty() {
		var p string
		if !readTexts(&policies, &p) {
			return nil, fmt.Errorf("%w: the policies of a store", errRecord)
		}
		s.Policies = append(s.Policies, p)
	}
	for !in.Empty() {
		var c xks.Credential
		var key cryptobyte.String
		var created uint64
		if !readTexts(&in, &c.AccessKeyID) || !in.ReadUint8LengthPrefixed(&key) || !in.ReadUint64(&created) {
			return nil, fmt.Errorf("%w: a credential of a store", errRecord)
		}
		c.Secret, c.Created = secret.Copy(key), time.Unix(0, int64(created)).UTC()
		s.Credentials = append(s.Credentials, c)
	}
	return s, nil
}

// The record of an external key at "k/<store>/<external key id>" is
//
//	version u8 = 1 | flags u8: 1 disabled, 2 no encryption, 4 no decryption, 8 hashed AAD |
//	foreign version u32 | mount, name u8-length each | pinned ARN, proposed ARN u16-length each
const (
	flagNoEncrypt = 2
	flagNoDecrypt = 4
	flagHashedAAD = 8
)

func marshalKey(k *xks.ExternalKey) ([]byte, error) {
	b := cryptobyte.NewBuilder(nil)
	b.AddUint8(recordVersion)
	st := k.State
	b.AddUint8(bit(st.Disabled, flagDisabled) | bit(st.NoEncrypt, flagNoEncrypt) | bit(st.NoDecrypt, flagNoDecrypt) |
		bit(st.HashedAAD, flagHashedAAD))
	b.AddUint32(k.Foreign)
	addText(b, k.Key.Mount, k.Key.Name)
	addLong(b, k.Pin, k.Proposed)
	raw, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("xks: encoding an external key: %w", err)
	}
	return raw, nil
}

func parseKey(id string, raw []byte) (*xks.ExternalKey, error) {
	in := cryptobyte.String(raw)
	k := &xks.ExternalKey{ID: id, Key: gateway.Key{}}
	var version, flags uint8
	if !in.ReadUint8(&version) || version != recordVersion || !in.ReadUint8(&flags) || flags > 15 ||
		!in.ReadUint32(&k.Foreign) || !readTexts(&in, &k.Key.Mount, &k.Key.Name) ||
		!readLong(&in, &k.Pin, &k.Proposed) || !in.Empty() {
		return nil, fmt.Errorf("%w: version %d of an external key is expected", errRecord, recordVersion)
	}
	k.State = xks.KeyState{Disabled: flags&flagDisabled != 0, NoEncrypt: flags&flagNoEncrypt != 0,
		NoDecrypt: flags&flagNoDecrypt != 0, HashedAAD: flags&flagHashedAAD != 0}
	return k, nil
}

// The record of last uses at "u/<store>" is
//
//	version u8 = 1 | each credential: access key id u8-length, last use i64, ns since 1970
func marshalUses(uses map[string]time.Time, order []string) ([]byte, error) {
	b := cryptobyte.NewBuilder([]byte{recordVersion})
	for _, id := range order {
		addText(b, id)
		b.AddUint64(uint64(uses[id].UnixNano()))
	}
	raw, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("xks: encoding last uses: %w", err)
	}
	return raw, nil
}

func parseUses(raw []byte) (map[string]time.Time, error) {
	in := cryptobyte.String(raw)
	var version uint8
	if !in.ReadUint8(&version) || version != recordVersion {
		return nil, fmt.Errorf("%w: version %d of last uses is expected", errRecord, recordVersion)
	}
	uses := map[string]time.Time{}
	for !in.Empty() {
		var id string
		var at uint64
		if !readTexts(&in, &id) || !in.ReadUint64(&at) {
			return nil, fmt.Errorf("%w: the last use of a credential", errRecord)
		}
		uses[id] = time.Unix(0, int64(at)).UTC()
	}
	return uses, nil
}
