package ceremony

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery/transcript"
	"github.com/sealgate/sealgate/recovery/transcript/cosign"
)

// pathCoSigned has the co-signatures of a record, by its number. They are beside the chain, which
// is complete without them: {"v":1, "signatures":[transcript.CoSignature, ...]}.
const pathCoSigned = "core/transcript/signed/" // + eight digits

type coSigned struct {
	Version    int                      `json:"v"`
	Signatures []transcript.CoSignature `json:"signatures"`
}

func coSignedPath(seq uint64) string { return fmt.Sprintf("%s%08d", pathCoSigned, seq) }

func readCoSigned(ctx context.Context, b *barrier.Barrier, seq uint64) ([]transcript.CoSignature, error) {
	raw, err := b.Get(ctx, coSignedPath(seq))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, barrier.Fault(err, "the co-signatures of a record could not be read")
	}
	var c coSigned
	if err := json.Unmarshal(raw, &c); err != nil || c.Version != 1 {
		return nil, fmt.Errorf("ceremony: entry %s is not in a format that this program reads", coSignedPath(seq))
	}
	return c.Signatures, nil
}

// recordNumber returns the number in the name of a record, such as "00000001-rekey-recovery" or
// "1".
func recordNumber(name string) (uint64, error) {
	digits, _, _ := strings.Cut(name, "-")
	seq, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return 0, fault.New(fault.NotFound, "")
	}
	return seq, nil
}

// CoSignatures returns the co-signatures of a record, by its name or number.
func CoSignatures(ctx context.Context, m *Manager, name string) ([]transcript.CoSignature, error) {
	u, err := m.Host.Unsealed()
	if err != nil {
		return nil, err
	}
	seq, err := recordNumber(name)
	if err != nil {
		return nil, err
	}
	return readCoSigned(ctx, u.Barrier, seq)
}

// CoSign stores the signature of a person for a record, after it has verified it, and returns the
// fingerprint of its key. A second signature by the same key replaces the first. publicKey is for
// PGP.
func CoSign(ctx context.Context, m *Manager, name, signer, signature, publicKey string) (fingerprint string,
	err error) {
	m.Lock.Lock()
	defer m.Lock.Unlock()
	u, err := m.Host.Unsealed()
	if err != nil {
		return "", err
	}
	seq, err := recordNumber(name)
	if err != nil {
		return "", err
	}
	record, err := readTranscript(ctx, u.Barrier, seq)
	if err != nil {
		return "", err
	}
	if cosign.IsDevice(signer) {
		return "", fault.New(fault.Invalid, "a name that begins with %q is that of a key in a device: sign under "+
			"another name", cosign.DeviceName(""))
	}
	s, err := cosign.New(record.Head(), signer, signature, publicKey, m.Now())
	if err == nil {
		fingerprint, err = cosign.Verify(record.Head(), s)
	}
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, "%v", err)
	}
	if err := storeCoSignature(ctx, m, u.Barrier, s, fingerprint); err != nil {
		return "", err
	}
	m.Log.Info("a record of the transcript was co-signed", "record", seq, "name", signer, "key", fingerprint)
	return fingerprint, nil
}

// CoSignDevice stores the signature of a key in a device, which the caller has verified. It takes
// no place of the holders' signatures.
func CoSignDevice(ctx context.Context, m *Manager, b *barrier.Barrier, s transcript.CoSignature) error {
	fingerprint, err := cosign.Fingerprint(s)
	if err != nil {
		return err
	}
	return storeCoSignature(ctx, m, b, s, fingerprint)
}

// DeviceSigned reports whether a record has the signature of a key in a device.
func DeviceSigned(ctx context.Context, b *barrier.Barrier, seq uint64, fingerprint string) (bool, error) {
	all, err := readCoSigned(ctx, b, seq)
	return err == nil && slices.ContainsFunc(all, func(s transcript.CoSignature) bool {
		print, err := cosign.Fingerprint(s)
		return err == nil && print == fingerprint && cosign.IsDevice(s.Name)
	}), err
}

// storeCoSignature adds a signature to those of its record. One by the same key is replaced.
func storeCoSignature(ctx context.Context, m *Manager, b *barrier.Barrier, s transcript.CoSignature,
	fingerprint string) error {
	m.coSigning.Lock()
	defer m.coSigning.Unlock()
	all, err := readCoSigned(ctx, b, s.Seq)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(old transcript.CoSignature) bool {
		print, err := cosign.Fingerprint(old)
		return err == nil && print == fingerprint
	})
	holders := 0
	for _, old := range all {
		if !cosign.IsDevice(old.Name) {
			holders++
		}
	}
	if holders >= cosign.MaxSignatures && !cosign.IsDevice(s.Name) {
		return fault.New(fault.Invalid, "the record has %d co-signatures, and more are not kept", cosign.MaxSignatures)
	}
	raw, err := json.Marshal(coSigned{1, append(all, s)})
	if err != nil {
		return err
	}
	tx := b.Begin()
	tx.Put(coSignedPath(s.Seq), raw)
	if err := tx.Commit(ctx); err != nil {
		return barrier.Fault(err, "the co-signature could not be stored")
	}
	return nil
}
