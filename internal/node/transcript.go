package node

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/recovery/transcript"
)

// The transcript: every ceremony that ended leaves a signed record, in the very commit that ends it.
const (
	pathTranscriptKey  = "core/transcript/key"  // version u8 = 1 | seed 32 of the Ed25519 key
	pathTranscriptHead = "core/transcript/head" // transcript.Head
	pathTranscriptLog  = "core/transcript/log/" // + eight digits: transcript.Signed
)

// ending is how a ceremony ended, as far as it does not know itself.
type ending struct {
	outcome transcript.Outcome
	by      Starter
	reason  string
	next    *recovery.ShareSet // what it made
}

// formatTranscript gives the entry that initialisation writes: the key that signs.
func (n *Node) formatTranscript() (storage.Op, error) {
	seed, err := secret.Random(n.cfg.Rand, ed25519.SeedSize)
	if err != nil {
		return storage.Op{}, err
	}
	defer seed.Destroy()
	return storage.Put(pathTranscriptKey, append([]byte{1}, seed.Expose()...)), nil
}

func transcriptKey(ctx context.Context, b *barrier.Barrier) (ed25519.PrivateKey, error) {
	raw, err := b.Get(ctx, pathTranscriptKey)
	if err != nil {
		return nil, storeFault(err, "the key that signs transcripts could not be read")
	}
	defer clear(raw)
	if len(raw) != 1+ed25519.SeedSize || raw[0] != 1 {
		return nil, fmt.Errorf("node: entry %s is not in a format that this program reads", pathTranscriptKey)
	}
	return ed25519.NewKeyFromSeed(raw[1:]), nil
}

func transcriptHead(ctx context.Context, b *barrier.Barrier) (transcript.Head, error) {
	raw, err := b.Get(ctx, pathTranscriptHead)
	if errors.Is(err, storage.ErrNotFound) {
		return transcript.Head{}, nil
	}
	if err != nil {
		return transcript.Head{}, storeFault(err, "the end of the transcript could not be read")
	}
	return transcript.UnmarshalHead(raw)
}

// transcribe adds the record of a ceremony that ends to the transaction that ends it. The caller holds transition, and puts no second
// record into the same transaction.
func (n *Node) transcribe(ctx context.Context, b *barrier.Barrier, tx *barrier.Tx, c *recovery.Ceremony, e ending) error {
	key, err := transcriptKey(ctx, b)
	if err != nil {
		return err
	}
	defer clear(key)
	head, err := transcriptHead(ctx, b)
	if err != nil {
		return err
	}
	f := n.state.Load()
	r := transcript.Of(c, f.shareSet)
	r.Cluster, r.Outcome, r.Reason, r.Finished = f.record.Cluster, e.outcome, e.reason, n.cfg.Now()
	r.EndedBy, r.EndedAccessor = e.by.DisplayName, e.by.Accessor
	if e.next != nil {
		r.GenerationAfter = e.next.Generation
	}
	signed, head, err := transcript.Append(key, head, r)
	if err != nil {
		return fmt.Errorf("node: the transcript: %w", err)
	}
	tx.Put(logPath(signed.Seq), signed.Marshal())
	tx.Put(pathTranscriptHead, head.Marshal())
	return nil
}

func logPath(seq uint64) string { return fmt.Sprintf("%s%08d", pathTranscriptLog, seq) }

// overtake records, in the transaction that starts a ceremony, that one of its purpose had lapsed before.
func (n *Node) overtake(ctx context.Context, b *barrier.Barrier, tx *barrier.Tx, p recovery.Purpose) error {
	old, err := n.readStored(ctx, b, p)
	if err != nil || old == nil {
		return err
	}
	return n.transcribe(ctx, b, tx, old, n.lapse(old))
}

// lapse says why a ceremony came to no end.
func (n *Node) lapse(c *recovery.Ceremony) ending {
	if c.Expired(n.cfg.Now()) {
		return ending{outcome: transcript.Expired}
	}
	return ending{outcome: transcript.Failed, reason: "the shares that were to authorise it were replaced meanwhile"}
}

// endLapsed removes ceremonies whose time is over, each with its record.
func (n *Node) endLapsed(ctx context.Context) {
	n.transition.Lock()
	defer n.transition.Unlock()
	a := n.writer()
	if a == nil {
		return
	}
	for _, p := range slots {
		c, err := n.readStored(ctx, a.barrier, p)
		if err != nil || c == nil || !n.lapsed(c) {
			continue // whoever asks for it sees the error
		}
		tx := a.barrier.Begin()
		tx.Delete(ceremonyPath(p))
		if c.Phase == recovery.Verifying {
			tx.Delete(answerPath(p)) // shares that never came to work
		}
		err = n.transcribe(ctx, a.barrier, tx, c, n.lapse(c))
		if err == nil {
			err = tx.Commit(ctx)
		}
		if err != nil {
			n.log.Warn("a ceremony whose time is over could not be ended; it is tried again", "purpose", string(p), "error", err)
			continue
		}
		n.log.Info("ceremony lapsed", "purpose", string(p), "progress", c.Progress())
	}
}

// Transcripts lists the records by "00000001-rekey-recovery".
func (n *Node) Transcripts(ctx context.Context) ([]string, error) {
	var out []string
	err := n.eachTranscript(ctx, func(s *transcript.Signed) { out = append(out, transcriptName(s)) })
	return out, err
}

func transcriptName(s *transcript.Signed) string {
	return fmt.Sprintf("%08d-%s", s.Seq, s.Record.Purpose)
}

// Transcript returns one record, by the name that Transcripts gives or by its number.
func (n *Node) Transcript(ctx context.Context, name string) (json.RawMessage, error) {
	a, err := n.Role()
	if err != nil {
		return nil, err
	}
	digits, _, _ := strings.Cut(name, "-")
	seq, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return nil, fault.New(fault.NotFound, "")
	}
	s, err := readTranscript(ctx, a.barrier, seq)
	if err != nil {
		return nil, err
	}
	if name != digits && name != transcriptName(s) {
		return nil, fault.New(fault.NotFound, "")
	}
	return s.MarshalJSON()
}

// TranscriptExport returns the whole chain with the key that it is verified by, as transcript.VerifyFile reads it.
func (n *Node) TranscriptExport(ctx context.Context) (json.RawMessage, error) {
	a, err := n.Role()
	if err != nil {
		return nil, err
	}
	key, err := transcriptKey(ctx, a.barrier)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	file := transcript.File{Records: []*transcript.Signed{}, PublicKey: slices.Clone(key.Public().(ed25519.PublicKey))} // the type that an ed25519 key's Public always has
	if err := n.eachTranscript(ctx, func(s *transcript.Signed) { file.Records = append(file.Records, s) }); err != nil {
		return nil, err
	}
	return json.Marshal(file)
}

// eachTranscript reads the chain up to the head that it has when the reading begins.
func (n *Node) eachTranscript(ctx context.Context, visit func(*transcript.Signed)) error {
	a, err := n.Role()
	if err != nil {
		return err
	}
	head, err := transcriptHead(ctx, a.barrier)
	if err != nil {
		return err
	}
	for seq := uint64(1); seq <= head.Seq; seq++ {
		s, err := readTranscript(ctx, a.barrier, seq)
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
		return nil, storeFault(err, "a record of the transcript could not be read")
	}
	return transcript.Unmarshal(raw)
}
