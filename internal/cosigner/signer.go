package cosigner

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/recovery/transcript"
	"github.com/sealgate/sealgate/recovery/transcript/cosign"
	"github.com/sealgate/sealgate/seals"
)

// Config configures a [Signer].
type Config struct {
	Ceremonies *ceremony.Manager
	Barrier    *barrier.Barrier // of the role
	Devices    *device.Registry // nil: there are no devices
	Mounts     func() []mount.Entry
	Log        *slog.Logger
	Now        func() time.Time
}

// Signer has a device sign the transcript, for one role of the node. It is safe for concurrent use.
type Signer struct {
	Config
	wake chan struct{}

	mu     sync.Mutex
	seen   *view // nil: to be read
	failed *Failure
	writes bool // Run works

	count atomic.Int64 // of records that are not signed, as far as it is known
}

// Failure is why records are not signed.
type Failure struct {
	Class seals.Class
	Text  string // for clients: cause and remedy
	Since time.Time
}

// New returns a Signer. It reads nothing.
func New(c Config) *Signer { return &Signer{Config: c, wake: make(chan struct{}, 1)} }

// State is the setting, and what is not signed yet.
type State struct {
	Key         string // "<type>/<name>"; "": no key signs
	PublicKey   string // a line of authorized_keys
	Fingerprint string
	From        uint64 // the first record that it signs
	Unsigned    int    // records that it, or a key before it, has yet to sign
	First       uint64 // of these; 0: none
	Failure     *Failure
}

// State reads the setting.
func (s *Signer) State(ctx context.Context) (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.refresh(ctx)
	if errors.Is(err, errChanged) {
		return State{Failure: failureOf(err, s.Now())}, nil
	}
	if err != nil {
		return State{}, err
	}
	st := State{Unsigned: len(s.seen.todo)}
	if k := s.seen.doc.current(); k != nil {
		st.Key, st.PublicKey, st.Fingerprint, st.From = k.Key, k.line, k.fingerprint, k.From
	}
	if st.Unsigned > 0 {
		st.First, st.Failure = s.seen.todo[0].head.Seq, s.failed
	}
	return st, nil
}

// Unsigned returns how many records are not signed, as far as it is known; it reads memory alone.
func (s *Signer) Unsigned() int { return int(s.count.Load()) }

func typeOf(key string) string {
	kind, _, _ := strings.Cut(key, "/")
	return kind
}

// Set has a managed key, "<type>/<name>", sign from now on, once it has made a signature. The
// change is a record of the transcript.
func (s *Signer) Set(ctx context.Context, key string, by ceremony.Starter) error {
	if err := s.allowed(ctx, key); err != nil {
		return err
	}
	k, err := s.try(ctx, key)
	if err != nil {
		return err
	}
	if st, err := s.State(ctx); err == nil && st.Key == key && st.Fingerprint == k.fingerprint {
		return nil
	}
	reason := "the managed key " + key + " signs this record and those that follow"
	return s.change(ctx, k, reason, by)
}

// Remove ends the signing. The last record that the key signs is that of the removal.
func (s *Signer) Remove(ctx context.Context, by ceremony.Starter) error {
	st, err := s.State(ctx)
	if err != nil || st.Key == "" && st.Failure == nil {
		return err
	}
	reason := "no key in a device signs the records that follow"
	if st.Key != "" {
		reason += "; the managed key " + st.Key + " did"
	}
	return s.change(ctx, nil, reason, by)
}

// allowed refuses keys that are not there, that may not sign, or that mounts may use.
func (s *Signer) allowed(ctx context.Context, key string) error {
	if s.Devices == nil {
		return fault.New(fault.Invalid, "this server has no devices: it was built without them")
	}
	e, ok, err := s.Devices.Entry(ctx, device.Managed, key)
	switch {
	case err != nil:
		return err
	case !ok:
		return fault.New(fault.Invalid, "no managed key is named %q: give one of sys/managed-keys as <type>/<name>", key)
	case !slices.Contains(e.Usages, device.Sign):
		return fault.New(fault.Invalid, "the managed key %s may not be used to sign: add sign to its usages", key)
	case e.AnyMount:
		return fault.New(fault.Invalid, "every mount may use the managed key %s, and the key that signs the transcript is "+
			"used for nothing else: set any_mount to false", key)
	}
	for _, m := range s.Mounts() {
		if slices.Contains(m.Config.AllowedManagedKeys, key) || slices.Contains(m.Config.AllowedManagedKeys, e.Name) {
			return fault.New(fault.Invalid, "the mount %q may use the managed key %s, and the key that signs the transcript is "+
				"used for nothing else: remove it from allowed_managed_keys, or choose another key", m.Path, key)
		}
	}
	return nil
}

// try takes the key of a managed key, and makes a signature with it: of the record 0, which does
// not exist.
func (s *Signer) try(ctx context.Context, key string) (*signer, error) {
	c, err := s.Devices.ForTranscript(key).Adopt(ctx, device.Managed, key)
	if err != nil {
		return nil, err
	}
	defer c.Material.Reference.Destroy()
	k := &signer{Key: key, Type: c.Spec.Type.String(), Reference: slices.Clone(c.Material.Reference.Expose()),
		Public: c.Material.Public}
	public, err := x509.ParsePKIXPublicKey(k.Public)
	if err == nil {
		k.line, k.fingerprint, err = cosign.PublicKey(public)
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the managed key %s is of type %s: %v", key, c.Spec.Type, cosign.ErrKey)
	}
	_, err = s.sign(ctx, unsigned{key: k})
	return k, err
}

// signTime bounds a signature.
const signTime = 20 * time.Second

// sign makes one signature, and verifies it.
func (s *Signer) sign(ctx context.Context, u unsigned) (transcript.CoSignature, error) {
	var none transcript.CoSignature
	if s.Devices == nil {
		return none, fault.New(fault.Unavailable, "this server has no devices: it was built without them")
	}
	ctx, cancel := context.WithTimeout(ctx, signTime)
	defer cancel()
	spec, material, err := u.key.material()
	if err != nil {
		return none, err
	}
	defer material.Reference.Destroy()
	p := s.Devices.ForTranscript(u.key.Key).Providers()[typeOf(u.key.Key)]
	if p == nil {
		return none, fault.New(fault.Unavailable, "this server has no devices of type %s", typeOf(u.key.Key))
	}
	opened, err := p.Open(ctx, spec, material)
	if err != nil {
		return none, err
	}
	key, ok := opened.(keys.Signer)
	if !ok {
		return none, fault.New(fault.Invalid, "the managed key %s cannot sign", u.key.Key)
	}
	public, err := key.Public(ctx, nil)
	if err != nil {
		return none, err
	}
	out, err := cosign.SignWith(u.head, cosign.DeviceName(u.key.Key), remote{ctx, key, public}, s.Now())
	if err != nil {
		return none, err
	}
	if print, err := cosign.Verify(u.head, out); err != nil || print != u.key.fingerprint {
		err = seals.Fail(seals.Corrupt, errors.Join(errWrong, err), "check the device")
		return none, fault.Wrap(err, fault.Unavailable, "the signature that the managed key %s made does not verify, and "+
			"was dropped: check the device", u.key.Key)
	}
	return out, nil
}

var errWrong = errors.New("cosigner: the signature of a device does not verify")

// remote is a key in a device as a crypto.Signer, for one call.
type remote struct {
	ctx    context.Context
	key    keys.Signer
	public crypto.PublicKey
}

// Public implements crypto.Signer.
func (r remote) Public() crypto.PublicKey { return r.public }

// Sign implements crypto.Signer.
func (r remote) Sign(_ io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	h := o.HashFunc()
	return r.key.Sign(r.ctx, digest, keys.SignParams{Hash: h, Prehashed: h != 0, PKCS1: true})
}

// change commits the record of a change, the setting and the reservations; next is nil for none.
func (s *Signer) change(ctx context.Context, next *signer, reason string, by ceremony.Starter) error {
	r := transcript.Record{Purpose: transcript.PurposeDeviceKey, Reason: reason, StartedBy: by.DisplayName,
		StartedAccessor: by.Accessor}
	if next != nil {
		r.Fingerprints = []string{next.fingerprint}
	}
	err := ceremony.CommitRecord(ctx, s.Ceremonies, r, func(tx *barrier.Tx, head transcript.Head) error {
		return s.write(ctx, tx, next, head)
	})
	if s.Devices != nil {
		s.Devices.Invalidate(device.Prefix)
	}
	if err != nil {
		return barrier.Fault(err, "nothing was changed: the key that signs the transcript could not be written")
	}
	s.Log.Warn(reason, "by", by.String())
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

// write adds the setting after a change to its transaction.
func (s *Signer) write(ctx context.Context, tx *barrier.Tx, next *signer, head transcript.Head) error {
	doc, err := readDocument(ctx, s.Barrier)
	if err != nil {
		return err
	}
	changed := []*signer{}
	if k := doc.current(); k != nil {
		changed = append(changed, k)
	}
	doc.end(head.Seq)
	if next != nil {
		next.From, next.Hash = head.Seq, head.Hash
		doc.Keys, changed = append(doc.Keys, next), append(changed, next)
	}
	for _, k := range changed { // of one key that is chosen again, the new reservation counts
		reserved, err := k.reserved()
		if err != nil {
			return err
		}
		if next != nil && k != next {
			if now, err := next.reserved(); err == nil && now.Type == reserved.Type && now.Identity == reserved.Identity {
				continue
			}
		}
		op, err := reserved.Op()
		if err != nil {
			return err
		}
		tx.Put(op.Key, op.Value)
	}
	return doc.put(tx)
}
