package transcript

import (
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"
)

const headDomain = "sealgate/transcript/head/v1\x00"

// Attested is the head of a chain at a moment, signed by the key that signs the records. In a file
// it proves that no record up to it was cut off since the file was made. It does not prove that the
// file is the newest: At says how old it is.
type Attested struct {
	Head      Head
	At        time.Time
	Signature []byte // Ed25519, over "sealgate/transcript/head/v1" 00 | seq u64 | hash 32 | at i64
}

// Attest signs the head of a chain. The empty chain has a head, too.
func Attest(key ed25519.PrivateKey, head Head, at time.Time) *Attested {
	a := &Attested{Head: head, At: time.Unix(0, at.UnixNano()).UTC()}
	a.Signature = ed25519.Sign(key, a.signedBytes())
	return a
}

func (a *Attested) signedBytes() []byte {
	b := binary.BigEndian.AppendUint64([]byte(headDomain), a.Head.Seq)
	b = append(b, a.Head.Hash[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(a.At.UnixNano()))
}

// Verify reports whether the key signed this head.
func (a *Attested) Verify(public ed25519.PublicKey) bool {
	return len(public) == ed25519.PublicKeySize && ed25519.Verify(public, a.signedBytes(), a.Signature)
}

// jsonAttested is an [Attested] in JSON.
type jsonAttested struct {
	Seq       uint64 `json:"seq"`
	Hash      Hash   `json:"hash"`
	At        string `json:"at"`
	Signature []byte `json:"signature"`
}

// MarshalJSON renders it as {"seq":7, "hash":"<hex>", "at":"<RFC 3339>", "signature":"<base64>"}.
func (a *Attested) MarshalJSON() ([]byte, error) {
	return json.Marshal(jsonAttested{a.Head.Seq, a.Head.Hash, clock(a.At), a.Signature})
}

// UnmarshalJSON decodes the result of MarshalJSON. It does not check the signature.
func (a *Attested) UnmarshalJSON(raw []byte) error {
	var j jsonAttested
	if err := strictly(raw, &j); err != nil {
		return fmt.Errorf("%w: the head is malformed: %w", ErrRecord, err)
	}
	var at time.Time
	if err := readClock(j.At, &at); err != nil || checkTime(at) != "" || at.IsZero() ||
		len(j.Signature) != ed25519.SignatureSize {
		return fmt.Errorf("%w: the head has no time or no signature", ErrRecord)
	}
	*a = Attested{Head: Head{j.Seq, j.Hash}, At: at, Signature: j.Signature}
	return nil
}

// Checked is a head with which a chain was compared.
type Checked struct {
	Head Head
	At   time.Time // when the server attested it; zero: the caller of [VerifyFile] passed it
}
