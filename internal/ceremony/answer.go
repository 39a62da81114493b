package ceremony

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
)

// answer is the reply to the last share of a ceremony. The commit that carries the ceremony out
// stores it behind the barrier: were the reply lost, or the server killed before it could reply,
// no holder would have the new shares. The same share with the same nonce returns it again until it is
// acknowledged, or until a node has served for [Config].KeepAnswer since the ceremony or since its
// start. The time counts only while a node serves, so that a crash at night leaves the answer there
// in the morning.
//
//	version u8 = 1 | made i64 (Unix ns) | nonce u8-len | share number u8
//	| authority u24-len (the share set that the share is of)
//	| shares u8 | threshold u8 | flags u8 (1 backup, 2 verification) | verification nonce u8-len
//	| keys u8 count, each u16-len | fingerprints u8 count, each u8-len
type answer struct {
	made      time.Time
	number    int
	authority *recovery.ShareSet
	reply     RekeyResult
}

const (
	flagBackup       = 1
	flagVerification = 2
)

func (a *answer) result() *RekeyResult { return &a.reply }

func (a *answer) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	text := func(s string) {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) })
	}
	r := &a.reply
	b.AddUint8(1)
	b.AddUint64(uint64(a.made.UnixNano()))
	text(r.Nonce)
	b.AddUint8(uint8(a.number))
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(a.authority.Marshal()) })
	b.AddUint8(uint8(r.Shares))
	b.AddUint8(uint8(r.Threshold))
	var flags uint8
	if r.Backup {
		flags |= flagBackup
	}
	if r.VerificationRequired {
		flags |= flagVerification
	}
	b.AddUint8(flags)
	text(r.VerificationNonce)
	b.AddUint8(uint8(len(r.Keys)))
	for _, k := range r.Keys {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(k.Expose()) })
	}
	b.AddUint8(uint8(len(r.PGPFingerprints)))
	for _, f := range r.PGPFingerprints {
		text(f)
	}
	return b.Bytes()
}

var errAnswer = errors.New("ceremony: not the record of a kept answer")

func unmarshalAnswer(record []byte) (*answer, error) {
	s := cryptobyte.String(record)
	var version, number, shares, threshold, flags uint8
	var made uint64
	var nonce, authority, verification cryptobyte.String
	if !s.ReadUint8(&version) || version != 1 || !s.ReadUint64(&made) || !s.ReadUint8LengthPrefixed(&nonce) ||
		!s.ReadUint8(&number) || !s.ReadUint24LengthPrefixed(&authority) ||
		!s.ReadUint8(&shares) || !s.ReadUint8(&threshold) || !s.ReadUint8(&flags) || flags > flagBackup|flagVerification ||
		!s.ReadUint8LengthPrefixed(&verification) {
		return nil, errAnswer
	}
	shareSet, err := recovery.UnmarshalShareSet(authority)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errAnswer, err)
	}
	a := &answer{made: time.Unix(0, int64(made)).UTC(), number: int(number), authority: shareSet, reply: RekeyResult{
		Nonce: string(nonce), Shares: int(shares), Threshold: int(threshold),
		Backup: flags&flagBackup != 0, VerificationRequired: flags&flagVerification != 0,
		VerificationNonce: string(verification),
	}}
	if !a.reply.readLists(&s) || !s.Empty() {
		return nil, errAnswer
	}
	return a, nil
}

func (r *RekeyResult) readLists(s *cryptobyte.String) bool {
	var keys, prints uint8
	if !s.ReadUint8(&keys) {
		return false
	}
	for range keys {
		var k cryptobyte.String
		if !s.ReadUint16LengthPrefixed(&k) {
			return false
		}
		r.Keys = append(r.Keys, secret.Copy(k))
	}
	if !s.ReadUint8(&prints) {
		return false
	}
	for range prints {
		var f cryptobyte.String
		if !s.ReadUint8LengthPrefixed(&f) {
			return false
		}
		r.PGPFingerprints = append(r.PGPFingerprints, string(f))
	}
	return true
}

// isFor reports whether this is the answer to a share and a nonce.
func (a *answer) isFor(nonce string, share *secret.Bytes) bool {
	number, err := a.authority.Identify(share)
	same := subtle.ConstantTimeCompare([]byte(a.reply.Nonce), []byte(nonce)) == 1
	return same && err == nil && number == a.number
}
