package seals

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/internal/secret"
)

// Custodians is a quorum that a root key is wrapped to: its share set as stored in the record, its
// public key, and the key by which it authenticates the record. RecordKey is nil for shares that
// were made before there was such a key.
type Custodians struct {
	ShareSet  []byte
	PublicKey []byte
	RecordKey *Secret
}

// Wrap wraps a root key with the seals of [Set.Plan]. Each part is decrypted again and compared
// before the record is returned. With a threshold above one, each seal gets a Shamir share of
// the key. custodians is the quorum that a [Quorum] seal wraps to, nil where the set has no such
// seal; previous, where it is not nil, stays able to unseal as well.
func (s *Set) Wrap(
	ctx context.Context, cluster string, generation uint64, root *Secret, custodians, previous *Custodians,
) (*Record, error) {
	return s.WrapAs(ctx, s.Plan(), cluster, generation, root, custodians, previous)
}

// WrapAs is [Set.Wrap] with the seals and the policy of another plan.
func (s *Set) WrapAs(
	ctx context.Context, plan Plan, cluster string, generation uint64, root *Secret, custodians, previous *Custodians,
) (*Record, error) {
	if root.Len() != RootKeyLen {
		return nil, fmt.Errorf("seals: the root key has %d bytes; want %d", root.Len(), RootKeyLen)
	}
	at, err := s.members(plan)
	if err != nil {
		return nil, err
	}
	plan = plan.normal()
	parts, err := s.split(root, plan)
	if err != nil {
		return nil, err
	}
	defer destroyAll(parts)
	r := s.newRecord(cluster, generation, plan, at)
	var keys RecordKeys
	if custodians != nil {
		r.ShareSet, keys.Quorum = custodians.ShareSet, custodians.RecordKey
	}
	if previous != nil {
		r.Previous, keys.Previous = &Previous{ShareSet: previous.ShareSet}, previous.RecordKey
	}
	wrapped := make([]wrappedPart, len(at)) // r does not change meanwhile: its members are bound
	err = s.each(func(i int, m Seal) (err error) {
		to := slices.Index(at, i)
		if to < 0 {
			return nil
		}
		wrapped[to], err = s.wrapMember(ctx, r, i, parts[to], custodians, previous)
		s.noteUnproven(m, err)
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, w := range wrapped {
		r.Parts[i] = *w.part
		if w.previous != nil {
			r.Previous.Part = *w.previous
		}
	}
	return r, r.Authenticate(root, keys)
}

// newRecord returns a record that names the members and has no blobs.
func (s *Set) newRecord(cluster string, generation uint64, plan Plan, at []int) *Record {
	r := &Record{
		Version: versionFor(plan), Generation: generation, Cluster: cluster, Threshold: plan.Threshold,
		Terms: plan.Terms, Parts: make([]Part, len(at)),
	}
	for to, i := range at {
		r.Parts[to] = Part{Name: s.seals[i].Name, Type: s.seals[i].Type}
	}
	return r
}

// wrappedPart is the part of one seal; with a quorum that was replaced, also the part for that.
type wrappedPart struct{ part, previous *Part }

// wrapMember wraps one part with one seal, and proves it.
func (s *Set) wrapMember(
	ctx context.Context, r *Record, i int, part *Secret, custodians, previous *Custodians,
) (wrappedPart, error) {
	m := s.seals[i]
	if q, ok := m.Wrapper.(Quorum); ok {
		return s.wrapToQuorums(ctx, r, i, q, part, custodians, previous)
	}
	p, err := s.wrapOne(ctx, r, i, m.Wrapper, part)
	if err != nil {
		return wrappedPart{}, err
	}
	return wrappedPart{part: p}, s.prove(ctx, r, i, p)
}

// wrapToQuorums wraps one part to the custodians and to the previous ones. It cannot prove the
// parts, because the shares are not at hand; the public key was checked when the shares were made.
func (s *Set) wrapToQuorums(
	ctx context.Context, r *Record, i int, q Quorum, part *Secret, custodians, previous *Custodians,
) (out wrappedPart, err error) {
	m := s.seals[i]
	if custodians == nil {
		return out, named(m, "wrap", Fail(Misconfigured, errors.New("there are no unseal custodians to wrap to"),
			"initialise the server with unseal shares"))
	}
	wrapTo := func(c *Custodians) (*Part, error) {
		w, err := q.For(c.PublicKey)
		if err != nil {
			return nil, named(m, "wrap to its custodians", err)
		}
		return s.wrapOne(ctx, r, i, w, part)
	}
	if out.part, err = wrapTo(custodians); err != nil || previous == nil {
		return out, err
	}
	out.previous, err = wrapTo(previous)
	return out, err
}

func (s *Set) wrapOne(ctx context.Context, r *Record, i int, w wrapping.Wrapper, part *Secret) (*Part, error) {
	m := s.seals[i]
	aad := binding(r, m.Name)
	begun := time.Now()
	plain := part.Clone() // an abandoned call outlives part
	blob, err := invoke(ctx, s, i, func(ctx context.Context) (blob *wrapping.BlobInfo, err error) {
		defer plain.Destroy()
		secret.Do(func() { blob, err = w.Encrypt(ctx, plain.Expose(), wrapping.WithAad(aad)) })
		return blob, err
	}, nil)
	s.opts.Observe("encrypt", m.Type, time.Since(begun), err)
	if err != nil {
		return nil, named(m, "encrypt", err)
	}
	p := &Part{
		Name:   m.Name,
		Type:   m.Type,
		KeyID:  blob.GetKeyInfo().GetKeyId(),
		Digest: digest(part.Expose()),
		Blob:   blob,
	}
	if v, ok := w.(Stamper); ok {
		p.KeyVersion = v.VersionOf(blob)
	}
	if v, ok := w.(Versioned); ok && p.KeyVersion == "" {
		p.KeyVersion, err = invoke(ctx, s, i, v.KeyVersion, nil)
		if err != nil {
			return nil, named(m, "read the key version", err)
		}
	}
	return p, nil
}

// prove decrypts a part and compares it with its digest.
func (s *Set) prove(ctx context.Context, r *Record, i int, p *Part) error {
	plain, err := s.decrypt(ctx, r, i, s.seals[i].Wrapper, p)
	plain.Destroy()
	return err
}

func (s *Set) decrypt(ctx context.Context, r *Record, i int, w wrapping.Wrapper, p *Part) (*Secret, error) {
	m := s.seals[i]
	aad, begun := binding(r, m.Name), time.Now()
	plain, err := invoke(ctx, s, i, func(ctx context.Context) (plain *Secret, err error) {
		secret.Do(func() { plain, err = decryptLocked(ctx, w, p.Blob, aad) })
		return plain, err
	}, (*Secret).Destroy)
	s.opts.Observe("decrypt", m.Type, time.Since(begun), err)
	if err != nil {
		return nil, named(m, "decrypt", err)
	}
	if !p.holds(plain.Expose()) {
		plain.Destroy()
		return nil, named(m, "decrypt", Fail(Corrupt, errors.New("the decrypted part is not the part that was wrapped"),
			"restore the sealed record from a backup; if the record is intact, check the device or service"))
	}
	return plain, nil
}

// decryptLocked decrypts a part into locked memory.
func decryptLocked(ctx context.Context, w wrapping.Wrapper, blob *wrapping.BlobInfo, aad []byte) (*Secret, error) {
	plain, err := w.Decrypt(ctx, blob, wrapping.WithAad(aad))
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	return secret.Locked(plain), nil
}

// binding returns the additional authenticated data of one part: lines of name=value, readable in a
// cloud's audit log. It holds ids, names that the operator chose and the policy, and no secret.
func binding(r *Record, seal string) []byte {
	if r.Version == 1 {
		return fmt.Appendf(nil, "sealgate.seal=v1\ncluster=%s\nseal=%s\ngeneration=%d\n", r.Cluster, seal, r.Generation)
	}
	policy := fmt.Sprintf("%d/%d", r.Threshold, len(r.Parts))
	if r.Version == 3 {
		policy = fmt.Sprintf("%d/%d", r.Threshold, len(r.Terms))
		for _, t := range r.Terms {
			policy += fmt.Sprintf(",%d/%d", t.Threshold, t.Size)
		}
	}
	version := cmp.Or(r.Version, 2) // a trial has no policy, and no version
	return fmt.Appendf(nil, "sealgate.seal=v%d\ncluster=%s\nseal=%s\ngeneration=%d\npolicy=%s\nmembers=%x\n",
		version, r.Cluster, seal, r.Generation, policy, r.members())
}

// members is a digest of the types and names of all parts, in their order.
func (r *Record) members() []byte {
	h := sha256.New()
	h.Write([]byte("sealgate/seals/members/v2\x00"))
	for _, p := range r.Parts {
		for _, text := range []string{p.Type, p.Name} {
			h.Write(binary.BigEndian.AppendUint16(nil, uint16(len(text))))
			h.Write([]byte(text))
		}
	}
	return h.Sum(nil)
}
