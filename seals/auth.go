package seals

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/internal/secret"
)

// A record of version 2 or 3 is authenticated as a whole:
//
//	seals with authenticated encryption   the parts bind cluster, seal, generation, policy and
//	                                      members; the root tag, by a key derived from the root
//	                                      key that they wrap, covers the rest
//	custodians                            anybody can encrypt to their public key, so the quorum
//	                                      tag, by a key derived from the seed that their shares
//	                                      combine to, proves who wrote the record
//	keys whose public half wraps          the root tag proves nothing about the writer: see
//	                                      [PublicWrapper]. On PKCS #11, an HMAC key of the same
//	                                      token authenticates the part (hmac_key_label)

// Labels of the keys and tags.
const (
	recordKeyLabel = "sealgate/seals/record/v2"
	rootTag        = "sealgate/seals/record/v2/root\x00"
	quorumTag      = "sealgate/seals/record/v2/quorum\x00"
)

// Causes of refused records.
var (
	// ErrForged is the cause of Corrupt for a record that was not written by a server that knew the
	// root key or the shares.
	ErrForged = errors.New("the sealed record was not written by this server: it fails its authentication")
	// ErrWeaker is the cause of Misconfigured for a record that fewer seals can open than
	// configured.
	ErrWeaker = errors.New("the stored root key is protected by a weaker policy than the configured one")
)

// PublicWrapper is implemented by providers whose key wraps with its public half, such as RSA-OAEP:
// anybody who knows that half and can write the storage can substitute a root key of his own.
type PublicWrapper interface {
	// WrapsPublicly returns how to change that a blob of this seal does not authenticate its creator,
	// "" where it does or where the type of the key is not known yet.
	WrapsPublicly() string
}

// RecordAuthenticator is implemented by an unlocked [Quorum] wrapper.
type RecordAuthenticator interface {
	// RecordKey returns a copy of the key that authenticates records for this quorum. required is
	// false only for a quorum that was made before records were authenticated.
	RecordKey() (key *Secret, required bool)
}

// recordKey derives the key of the root tag.
func recordKey(root *Secret) (key *Secret, err error) {
	secret.Do(func() {
		var raw []byte
		raw, err = hkdf.Expand(sha256.New, root.Expose(), recordKeyLabel, sha256.Size)
		key = NewSecret(raw)
	})
	if err != nil {
		return nil, fmt.Errorf("seals: deriving the key of the sealed record: %w", err)
	}
	return key, nil
}

func tag(key *Secret, label string, body []byte) (sum []byte) {
	secret.Do(func() {
		h := hmac.New(sha256.New, key.Expose())
		h.Write([]byte(label))
		h.Write(body)
		sum = h.Sum(nil)
	})
	return sum
}

// RecordKeys are the keys of the quorums that a record is authenticated for; nil without one.
type RecordKeys struct{ Quorum, Previous *Secret }

// Authenticate computes the tags of a record from version 2 on. Call it after every change of the
// record.
func (r *Record) Authenticate(root *Secret, keys RecordKeys) error {
	if r.Version == 1 {
		return nil
	}
	body, err := r.body()
	if err != nil {
		return err
	}
	key, err := recordKey(root)
	if err != nil {
		return err
	}
	defer key.Destroy()
	r.RootTag, r.QuorumTag, r.PreviousTag = tag(key, rootTag, body), nil, nil
	if keys.Quorum.Len() > 0 {
		r.QuorumTag = tag(keys.Quorum, quorumTag, body)
	}
	if keys.Previous.Len() > 0 && r.Previous != nil {
		r.PreviousTag = tag(keys.Previous, quorumTag, body)
	}
	return nil
}

// verifyRoot checks the root tag with the root key that the record's own parts gave.
func (r *Record) verifyRoot(root *Secret) error {
	if r.Version == 1 {
		return nil
	}
	body, err := r.body()
	if err != nil {
		return err
	}
	key, err := recordKey(root)
	if err != nil {
		return err
	}
	defer key.Destroy()
	if !hmac.Equal(tag(key, rootTag, body), r.RootTag) {
		return forged()
	}
	return nil
}

// VerifyRoot refuses a record that was not written by a server which knew a root key that was not
// unwrapped from the record.
func (r *Record) VerifyRoot(root *Secret) error { return r.verifyRoot(root) }

// verifyQuorum checks that a record was written by a server that knew the key of the quorum which
// unseals it. It must precede every use of the record.
func (r *Record) verifyQuorum(quorum wrapping.Wrapper, isPrevious bool) error {
	a, ok := quorum.(RecordAuthenticator)
	if !ok {
		return nil
	}
	key, required := a.RecordKey()
	defer key.Destroy()
	got := r.QuorumTag
	if isPrevious {
		got = r.PreviousTag
	}
	if r.Version == 1 || len(got) == 0 {
		if required {
			return forged()
		}
		return nil
	}
	body, err := r.body()
	if err != nil {
		return err
	}
	if !hmac.Equal(tag(key, quorumTag, body), got) {
		return forged()
	}
	return nil
}

func forged() error {
	return Fail(Corrupt, ErrForged, "somebody changed the storage or exchanged it for another server's; "+
		"find out who can write it, and restore the sealed record or the whole storage from a backup")
}

// Weakness says how far a record protects less than a record that is written now; "" where it does
// not.
func (r *Record) Weakness() string {
	switch {
	case r == nil:
		return ""
	case r.Version == 1:
		return "the sealed record has format version 1, which is not authenticated as a whole; " +
			"`sealgate write -f sys/rotate/root` writes version 2"
	case len(r.ShareSet) > 0 && len(r.QuorumTag) == 0:
		return "the unseal shares were made before records were authenticated by them; " +
			"`sealgate operator rekey -init` starts to make shares that do"
	}
	return ""
}

// checkPolicy refuses a record that seals can open which the configuration does not let unseal.
func (s *Set) checkPolicy(r *Record) error {
	if s.opts.AllowPolicyChange || !r.Plan().WeakerThan(s.Configured(), s.names()) {
		return nil
	}
	stored, configured := policyTexts(r.Plan(), s.Configured())
	return Fail(Misconfigured, fmt.Errorf("%w: %s, configured are %s", ErrWeaker, stored, configured),
		"if that is intended, set allow_change = true in the seal_policy stanza and restart: the server then "+
			"unseals and "+
			"wraps the root key by the configured policy; otherwise somebody weakened the stored record: restore it "+
			"from a backup")
}

// policyTexts names two policies: by their counts where neither has groups.
func policyTexts(p, q Plan) (string, string) {
	if p.Grouped() || q.Grouped() {
		return p.Expression(), q.Expression()
	}
	return policyText(p.Threshold, len(p.Members)), policyText(q.Threshold, len(q.Members))
}

func policyText(threshold, seals int) string {
	if threshold <= 1 {
		return fmt.Sprintf("any of %d", seals)
	}
	return fmt.Sprintf("%d of %d", threshold, seals)
}

// PolicyDrift returns how the policy of a record differs from the configured one, "" where it does
// not. stronger reports that the record protects no less than the configuration.
func (s *Set) PolicyDrift(r *Record) (text string, stronger bool) {
	if r == nil {
		return "", false
	}
	stored, configured := r.Plan(), s.Configured()
	weaker := stored.WeakerThan(configured, s.names())
	if stored.sameOn(configured) && !weaker {
		return "", false
	}
	a, b := policyTexts(stored, configured)
	if !stored.Grouped() && !configured.Grouped() {
		a += " seals"
	}
	return fmt.Sprintf("the stored root key needs %s, the configuration %s", a, b), !weaker
}

// AllowsPolicyChange reports whether the configured policy may replace the stored one.
func (s *Set) AllowsPolicyChange() bool { return s.opts.AllowPolicyChange }

// CheckReplace refuses to replace a record by one that fewer seals can open, unless the
// configuration allows a change of the policy.
func (s *Set) CheckReplace(r *Record) error {
	if name := s.unconfigured(r); name != "" && !s.opts.AllowPolicyChange {
		return Fail(Misconfigured, fmt.Errorf("seal %q holds the root key and is not in the configuration of this node, "+
			"so that it would lose its part", name), "add its stanza and reload the configuration (SIGHUP), or remove "+
			"the seal: sealgate operator seals remove %s", name)
	}
	text, stronger := s.PolicyDrift(r)
	if !stronger || s.opts.AllowPolicyChange || !s.Plan().WeakerThan(r.Plan(), s.names()) {
		return nil
	}
	setting := fmt.Sprintf("threshold = %d", r.Threshold)
	if r.Plan().Grouped() || s.Configured().Grouped() {
		setting = fmt.Sprintf("policy = %q", r.Plan().Expression())
	}
	return Fail(Misconfigured, fmt.Errorf("this would weaken the protection of the root key: %s", text),
		"set %s in the seal_policy stanza, or allow the weaker policy by allow_change = true, and restart", setting)
}
