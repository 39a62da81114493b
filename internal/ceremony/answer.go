package ceremony

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
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
// no holder would have the new shares. The same share with the same nonce returns it again until it
// is acknowledged, or until a node has served for [Config].KeepAnswer since the ceremony or since
// its start. The time counts only while a node serves, so that a crash at night leaves the answer
// there in the morning.
//
//	version u8 = 2 | made i64 (Unix ns) | share number u8
//	| authority u24-len (the share set that the share is of) | sealed u24-len
//
// sealed is a random nonce of 12 bytes, the AES-256-GCM ciphertext and its tag. The key is
// HKDF-SHA-256 of the last share, with the ceremony's nonce as salt and answerDomain as info; the
// additional data is answerDomain and the purpose. So nobody but the holder of that share can read
// the new shares, also where he can read behind the barrier. The plaintext:
//
//	nonce u8-len | shares u8 | threshold u8 | flags u8 (1 backup, 2 verification)
//	| verification nonce u8-len | keys u8 count, each u16-len
//	| fingerprints u8 count, each u8-len
//
// Version 1 had the plaintext's fields in the clear. It is read, and never written.
type answer struct {
	purpose   recovery.Purpose
	made      time.Time
	number    int
	authority *recovery.ShareSet

	sealed []byte       // of version 2
	plain  *RekeyResult // of version 1
}

const (
	flagBackup       = 1
	flagVerification = 2

	answerVersion      = 2
	answerVersionPlain = 1
	answerDomain       = "sealgate/ceremony/answer/v2\x00"
)

var errAnswer = errors.New("ceremony: not the record of a kept answer")

func answerAEAD(nonce string, share *secret.Bytes) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, share.Expose(), []byte(nonce), answerDomain, 32)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// seal encrypts the reply for the holder of a share.
func (a *answer) seal(reply *RekeyResult, share *secret.Bytes) error {
	aead, err := answerAEAD(reply.Nonce, share)
	if err != nil {
		return err
	}
	plain, err := reply.marshal()
	if err != nil {
		return err
	}
	defer clear(plain)
	a.sealed = aead.Seal(nil, nil, plain, []byte(answerDomain+string(a.purpose)))
	return nil
}

// open returns the reply to a share and a nonce; nil where there is none, or it is not theirs.
func (a *answer) open(nonce string, share *secret.Bytes) *RekeyResult {
	if a == nil {
		return nil
	}
	if number, err := a.authority.Identify(share); err != nil || number != a.number {
		return nil
	}
	if a.plain != nil {
		if subtle.ConstantTimeCompare([]byte(a.plain.Nonce), []byte(nonce)) != 1 {
			return nil
		}
		return a.plain
	}
	aead, err := answerAEAD(nonce, share)
	if err != nil {
		return nil
	}
	plain, err := aead.Open(nil, nil, a.sealed, []byte(answerDomain+string(a.purpose)))
	if err != nil {
		return nil
	}
	defer clear(plain)
	r := &RekeyResult{}
	s := cryptobyte.String(plain)
	if !r.readNonce(&s) || !r.read(&s) || !s.Empty() {
		return nil
	}
	return r
}

func (a *answer) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(answerVersion)
	b.AddUint64(uint64(a.made.UnixNano()))
	b.AddUint8(uint8(a.number))
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(a.authority.Marshal()) })
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(a.sealed) })
	return b.Bytes()
}

// unmarshalAnswer reads a record that was kept for a purpose.
func unmarshalAnswer(p recovery.Purpose, record []byte) (*answer, error) {
	s := cryptobyte.String(record)
	a := &answer{purpose: p}
	var version, number uint8
	var made uint64
	var authority cryptobyte.String
	if !s.ReadUint8(&version) || version != answerVersion && version != answerVersionPlain || !s.ReadUint64(&made) {
		return nil, errAnswer
	}
	if version == answerVersionPlain {
		if a.plain = new(RekeyResult); !a.plain.readNonce(&s) {
			return nil, errAnswer
		}
	}
	if !s.ReadUint8(&number) || !s.ReadUint24LengthPrefixed(&authority) {
		return nil, errAnswer
	}
	if version == answerVersionPlain {
		if !a.plain.read(&s) {
			return nil, errAnswer
		}
	} else {
		var sealed cryptobyte.String
		if !s.ReadUint24LengthPrefixed(&sealed) {
			return nil, errAnswer
		}
		a.sealed = append([]byte(nil), sealed...)
	}
	if !s.Empty() {
		return nil, errAnswer
	}
	shareSet, err := recovery.UnmarshalShareSet(authority)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errAnswer, err)
	}
	a.made, a.number, a.authority = time.Unix(0, int64(made)).UTC(), int(number), shareSet
	return a, nil
}

// marshal returns the plaintext of an answer. The caller clears it.
func (r *RekeyResult) marshal() ([]byte, error) {
	size := 64 + len(r.Nonce) + len(r.VerificationNonce)
	for _, k := range r.Keys {
		size += 2 + k.Len()
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, size+256*len(r.PGPFingerprints))) // large enough not to leave copies
	text := func(s string) {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) })
	}
	text(r.Nonce)
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

func (r *RekeyResult) readNonce(s *cryptobyte.String) bool {
	var nonce cryptobyte.String
	if !s.ReadUint8LengthPrefixed(&nonce) {
		return false
	}
	r.Nonce = string(nonce)
	return true
}

// read reads what follows the nonce.
func (r *RekeyResult) read(s *cryptobyte.String) bool {
	var shares, threshold, flags, keys, prints uint8
	var verification cryptobyte.String
	if !s.ReadUint8(&shares) || !s.ReadUint8(&threshold) || !s.ReadUint8(&flags) ||
		flags > flagBackup|flagVerification || !s.ReadUint8LengthPrefixed(&verification) || !s.ReadUint8(&keys) {
		return false
	}
	r.Shares, r.Threshold, r.VerificationNonce = int(shares), int(threshold), string(verification)
	r.Backup, r.VerificationRequired = flags&flagBackup != 0, flags&flagVerification != 0
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
