package transcript

import (
	"encoding/json"
	"fmt"
	"time"
)

// maxCoSignatures bounds a file.
const maxCoSignatures = 100_000

// CoSignature is a person's signature of a record, beside the server's. Package
// recovery/transcript/cosign makes and verifies it; this package only carries it. It is not part of
// the chain: an attacker who can change a file can leave it out.
type CoSignature struct {
	Seq       uint64    `json:"record"`
	Name      string    `json:"name"`       // that the signer gave; the key decides
	Kind      string    `json:"kind"`       // "ssh" or "pgp"
	PublicKey string    `json:"public_key"` // a line of authorized_keys, or an armored PGP key
	Signature string    `json:"signature"`  // armored
	At        time.Time `json:"at"`         // when the server took it
}

// coSignatures reads the co-signatures of a file, one at a time.
func (f *fileReader) coSignatures() error {
	t, err := f.json.Token()
	if err != nil {
		return err
	}
	if t != json.Delim('[') {
		return fmt.Errorf("its co_signatures are not a list")
	}
	report := f.check.report
	for f.json.More() {
		f.input.mark()
		var raw json.RawMessage
		if err := f.json.Decode(&raw); err != nil {
			return err
		}
		if err := plain(raw); err != nil {
			return err
		}
		var s CoSignature
		if err := strictly(raw, &s); err != nil {
			return fmt.Errorf("%w: a co-signature is malformed: %w", ErrRecord, err)
		}
		if len(report.CoSignatures) == maxCoSignatures {
			return fmt.Errorf("it has more than %d co-signatures", maxCoSignatures)
		}
		report.CoSignatures = append(report.CoSignatures, s)
	}
	_, err = f.json.Token()
	return err
}

// Genuine returns the head of the chain at a record that the server signed; ok is false where the
// file has no such record.
func (r *Report) Genuine(seq uint64) (head Head, ok bool) {
	f, there := r.seen[seq]
	return Head{Seq: seq, Hash: f.hash}, there && f.genuine
}
