package ceremony

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/signkey"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/recovery/transcript"
)

// Every ceremony that ends leaves a signed record, in the commit that ends it.
const (
	pathTranscriptKey = "core/transcript/key"  // see signkey
	pathTranscriptLog = "core/transcript/log/" // + eight digits: transcript.Signed
)

// TranscriptHeadPath holds the transcript.Head, which the node attests.
const TranscriptHeadPath = "core/transcript/head"

func logPath(seq uint64) string { return fmt.Sprintf("%s%08d", pathTranscriptLog, seq) }

// ending is what the record says of the end of a ceremony beyond the ceremony's own state.
type ending struct {
	outcome transcript.Outcome
	by      Starter
	reason  string
	next    *recovery.ShareSet // the new shares
}

// FormatTranscript returns the entry that initialisation writes: the key that signs.
func FormatTranscript(rnd io.Reader) (storage.Op, error) {
	entry, _, err := signkey.New(rnd)
	return storage.Put(pathTranscriptKey, entry), err
}

// withTranscriptKey calls f with the key that signs transcripts, until f returns.
func withTranscriptKey(ctx context.Context, b *barrier.Barrier, f func(ed25519.PrivateKey) error) error {
	used := false
	err := signkey.With(ctx, b, pathTranscriptKey, func(key ed25519.PrivateKey, addition []byte) error {
		used = true
		if len(addition) > 0 {
			return fmt.Errorf("%w: %s", signkey.ErrEntry, pathTranscriptKey)
		}
		return f(key)
	})
	if !used {
		return barrier.Fault(err, "the key that signs transcripts could not be read")
	}
	return err
}

func transcriptHead(ctx context.Context, b *barrier.Barrier) (transcript.Head, error) {
	raw, err := b.Get(ctx, TranscriptHeadPath)
	if errors.Is(err, storage.ErrNotFound) {
		return transcript.Head{}, nil
	}
	if err != nil {
		return transcript.Head{}, barrier.Fault(err, "the head of the transcript could not be read")
	}
	return transcript.UnmarshalHead(raw)
}

// attestedHead returns the head of the transcript. It fails where the stored one is not what the
// node attests: the end of the transcript was cut off, and what follows must not hide that.
func (m *Manager) attestedHead(ctx context.Context) (transcript.Head, error) {
	raw, err := m.Host.TranscriptHead(ctx)
	if err != nil || raw == nil {
		return transcript.Head{}, err
	}
	return transcript.UnmarshalHead(raw)
}

// record adds the record of a ceremony that ends to the transaction that ends it. The caller holds
// the lock, and adds one record to a transaction at most.
func (m *Manager) record(ctx context.Context, b *barrier.Barrier, tx *barrier.Tx, c *recovery.Ceremony,
	e ending) error {
	if idle(c) {
		return nil // or a client without token and share could fill the transcript
	}
	head, err := m.attestedHead(ctx)
	if err != nil {
		return err
	}
	if e.outcome == transcript.Completed {
		if err := m.checkNotEnded(ctx, b, head, c); err != nil {
			return err
		}
	}
	state := m.Host.ShareState()
	r := transcript.Of(c, state.ShareSet)
	r.Cluster, r.Outcome, r.Reason, r.Finished = state.Cluster, e.outcome, e.reason, m.Now()
	r.EndedBy, r.EndedAccessor = e.by.DisplayName, e.by.Accessor
	if e.next != nil {
		r.GenerationAfter = e.next.Generation
	}
	return AppendRecord(ctx, b, tx, head, r)
}

// clockSkew is how far the clocks of two nodes may differ.
const clockSkew = time.Hour

// checkNotEnded refuses to complete a ceremony that has ended already: an attacker who writes the
// storage can put back one that lacks a share, and its last share alone would authorise again.
func (m *Manager) checkNotEnded(ctx context.Context, b *barrier.Barrier, head transcript.Head,
	c *recovery.Ceremony) error {
	for seq := head.Seq; seq > 0; seq-- {
		s, err := readTranscript(ctx, b, seq)
		if err != nil {
			return err
		}
		if s.Record.Finished.Before(c.Started.Add(-clockSkew)) {
			return nil
		}
		if s.Record.Nonce == c.Nonce {
			m.Log.Error("ALARM: a ceremony that has ended was put back into the storage, which was changed outside this program",
				"purpose", string(c.Purpose), "record", seq)
			return fault.New(fault.Invalid, "this operation has ended already (record %d of the transcript); start a new one",
				seq)
		}
	}
	return nil
}

// Recorded reports whether the transcript up to a head has a record with a nonce, of a ceremony
// that began at a time.
func Recorded(ctx context.Context, b *barrier.Barrier, head transcript.Head, nonce string,
	started time.Time) (bool, error) {
	for seq := head.Seq; seq > 0; seq-- {
		s, err := readTranscript(ctx, b, seq)
		if err != nil {
			return false, err
		}
		if s.Record.Nonce == nonce {
			return true, nil
		}
		if s.Record.Finished.Before(started.Add(-clockSkew)) {
			return false, nil
		}
	}
	return false, nil
}

// AppendRecord adds the record that follows a head to a transaction, with the new head.
func AppendRecord(ctx context.Context, b *barrier.Barrier, tx *barrier.Tx, head transcript.Head,
	r transcript.Record) error {
	var signed *transcript.Signed
	err := withTranscriptKey(ctx, b, func(key ed25519.PrivateKey) (err error) {
		if signed, head, err = transcript.Append(key, head, r); err != nil {
			err = fmt.Errorf("ceremony: appending to the transcript: %w", err)
		}
		return err
	})
	if err != nil {
		return err
	}
	tx.Put(logPath(signed.Seq), signed.Marshal())
	tx.Put(TranscriptHeadPath, head.Marshal())
	return nil
}

// commit commits a transaction that may have a new transcript head, with its attestation.
func (m *Manager) commit(ctx context.Context, tx *barrier.Tx) error {
	if err := m.Keys.Attest(ctx, tx); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	m.reportHead(ctx)
	select {
	case m.Recorded <- struct{}{}:
	default: // it was not received yet
	}
	return nil
}

// reportHead reports the new head after a commit. The node notes its revision by that, so that it
// is not put back unseen.
func (m *Manager) reportHead(ctx context.Context) {
	if head, err := m.attestedHead(ctx); err == nil {
		attribute(ctx, head)
	}
}

// recordLapsed adds to the transaction that starts a ceremony the record of one of its purpose that
// has lapsed.
func (m *Manager) recordLapsed(ctx context.Context, b *barrier.Barrier, tx *barrier.Tx, p recovery.Purpose) error {
	old, err := readStored(ctx, b, p)
	if err != nil || old == nil {
		return err
	}
	return m.record(ctx, b, tx, old, m.lapse(old))
}

// lapse returns why a ceremony lapsed.
func (m *Manager) lapse(c *recovery.Ceremony) ending {
	if c.Expired(m.Now()) {
		return ending{outcome: transcript.Expired}
	}
	return ending{outcome: transcript.Failed, reason: "the shares that were to authorise it were replaced meanwhile"}
}

// EndLapsed removes ceremonies that have lapsed, each with its record.
func (m *Manager) EndLapsed(ctx context.Context) {
	m.Lock.Lock()
	defer m.Lock.Unlock()
	u, err := m.Host.Unsealed()
	if err != nil || u.Standby {
		return
	}
	for _, p := range slots {
		c, err := readStored(ctx, u.Barrier, p)
		if err != nil || c == nil || !m.lapsed(c) {
			continue // a client that asks for it gets the error
		}
		tx := u.Barrier.Begin()
		tx.Delete(ceremonyPath(p))
		if c.Phase == recovery.Verifying {
			tx.Delete(answerPath(p)) // its shares never became valid
		}
		err = m.record(ctx, u.Barrier, tx, c, m.lapse(c))
		if err == nil {
			err = m.commit(ctx, tx)
		}
		if err != nil {
			m.Log.Warn("a lapsed ceremony could not be removed; it is tried again", "purpose", string(p), "error", err)
			continue
		}
		m.Log.Info("ceremony lapsed", "purpose", string(p), "progress", c.Progress())
	}
}

// Transcripts lists the names of the records, such as "00000001-rekey-recovery".
func (m *Manager) Transcripts(ctx context.Context) ([]string, error) {
	head, err := m.attestedHead(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	err = m.eachTranscript(ctx, head, func(s *transcript.Signed) { out = append(out, transcriptName(s)) })
	return out, err
}

func transcriptName(s *transcript.Signed) string {
	return fmt.Sprintf("%08d-%s", s.Seq, s.Record.Purpose)
}

// Transcript returns one record, by the name that Transcripts returns or by its number.
func (m *Manager) Transcript(ctx context.Context, name string) (json.RawMessage, error) {
	u, err := m.Host.Unsealed()
	if err != nil {
		return nil, err
	}
	seq, err := recordNumber(name)
	if err != nil {
		return nil, err
	}
	digits, _, _ := strings.Cut(name, "-")
	s, err := readTranscript(ctx, u.Barrier, seq)
	if err != nil {
		return nil, err
	}
	if name != digits && name != transcriptName(s) {
		return nil, fault.New(fault.NotFound, "")
	}
	return s.MarshalJSON()
}

// TranscriptExport returns the whole chain with the key that verifies it, as transcript.VerifyFile
// reads it.
func (m *Manager) TranscriptExport(ctx context.Context) (json.RawMessage, error) {
	u, err := m.Host.Unsealed()
	if err != nil {
		return nil, err
	}
	head, err := m.attestedHead(ctx)
	if err != nil {
		return nil, err
	}
	file := transcript.File{Records: []*transcript.Signed{}}
	err = withTranscriptKey(ctx, u.Barrier, func(key ed25519.PrivateKey) error {
		public := key.Public().(ed25519.PublicKey) //nolint:forcetypeassert // always of this type
		file.PublicKey, file.Head = slices.Clone(public), transcript.Attest(key, head, m.Now())
		return nil
	})
	if err != nil {
		return nil, err
	}
	add := func(s *transcript.Signed) { file.Records = append(file.Records, s) }
	if err := m.eachTranscript(ctx, head, add); err != nil {
		return nil, err
	}
	for _, s := range file.Records {
		signatures, err := readCoSigned(ctx, u.Barrier, s.Seq)
		if err != nil {
			return nil, err
		}
		file.CoSignatures = append(file.CoSignatures, signatures...)
	}
	return json.Marshal(file)
}

// eachTranscript reads the chain up to a head.
func (m *Manager) eachTranscript(ctx context.Context, head transcript.Head, visit func(*transcript.Signed)) error {
	u, err := m.Host.Unsealed()
	if err != nil {
		return err
	}
	for seq := uint64(1); seq <= head.Seq; seq++ {
		s, err := readTranscript(ctx, u.Barrier, seq)
		if err != nil {
			return err
		}
		visit(s)
	}
	return nil
}

func readTranscript(ctx context.Context, b *barrier.Barrier, seq uint64) (*transcript.Signed, error) {
	raw, err := b.Get(ctx, logPath(seq))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, fault.New(fault.NotFound, "")
	}
	if err != nil {
		return nil, barrier.Fault(err, "a record of the transcript could not be read")
	}
	return transcript.Unmarshal(raw)
}

// RecordChange adds to a transaction the record of a change that was made without a ceremony. The
// caller holds the lock, sets the record's words, and attests the new head.
func RecordChange(ctx context.Context, m *Manager, tx *barrier.Tx, r transcript.Record) error {
	u, err := m.Host.Unsealed()
	if err != nil {
		return err
	}
	head, err := m.attestedHead(ctx)
	if err != nil {
		return err
	}
	state := m.Host.ShareState()
	r.Cluster = state.Cluster
	if state.ShareSet != nil {
		r.GenerationBefore, r.GenerationAfter = state.ShareSet.Generation, state.ShareSet.Generation
	}
	return AppendRecord(ctx, u.Barrier, tx, head, r)
}

// RecordAct commits the record of an act that no audit device could record.
func RecordAct(ctx context.Context, m *Manager, r transcript.Record) error {
	return CommitRecord(ctx, m, r, func(*barrier.Tx, transcript.Head) error { return nil })
}

// CommitRecord commits the record of a change with what add adds to its transaction. add gets the
// head that the record makes.
func CommitRecord(ctx context.Context, m *Manager, r transcript.Record,
	add func(tx *barrier.Tx, head transcript.Head) error) error {
	m.Lock.Lock()
	defer m.Lock.Unlock()
	u, err := m.Host.Unsealed()
	if err != nil {
		return err
	}
	tx := u.Barrier.Begin()
	r.Started, r.Finished, r.Outcome = m.Now(), m.Now(), transcript.Completed
	if err := RecordChange(ctx, m, tx, r); err != nil {
		return err
	}
	raw, _ := tx.Written(TranscriptHeadPath)
	head, err := transcript.UnmarshalHead(raw)
	if err != nil {
		return err
	}
	if err := add(tx, head); err != nil {
		return err
	}
	return m.commit(ctx, tx)
}

// Head returns the attested head of the transcript.
func Head(ctx context.Context, m *Manager) (transcript.Head, error) { return m.attestedHead(ctx) }

// Record returns the record with a number.
func Record(ctx context.Context, b *barrier.Barrier, seq uint64) (*transcript.Signed, error) {
	return readTranscript(ctx, b, seq)
}
