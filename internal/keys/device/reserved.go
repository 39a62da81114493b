package device

import (
	"context"
	"maps"
	"slices"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// reservedPrefix has a record of each key that the server uses for its transcript, and no mount, by
// the key's type and the SHA-256 of its identity in hexadecimal.
const reservedPrefix = Prefix + "reserved/" // + type/hash

// Reserved is a key that signs the transcript, or has signed it. No mount uses it, whatever its
// permissions are, and not after that either: a client that may sign with it in a mount could sign
// for the transcript.
type Reserved struct {
	Type     string `json:"type"`
	Identity string `json:"identity"`
	Label    string `json:"label"`            // of the managed key
	Active   bool   `json:"active,omitempty"` // it signs now: the managed key cannot be removed
}

func (k Reserved) key() string {
	return reservedPrefix + UsedKey{Type: k.Type, Identity: k.Identity}.name()
}

// Op is the write that makes the reservation. Call [Registry.Invalidate] with [Prefix] after its
// commit.
func (k Reserved) Op() (storage.Op, error) {
	raw, err := marshal(&k)
	if err != nil {
		return storage.Op{}, err
	}
	return storage.Put(k.key(), raw.Expose()), nil
}

// Reserved lists the reservations.
func (r *Registry) Reserved(ctx context.Context) ([]Reserved, error) {
	s, err := r.current(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Collect(maps.Values(s.reserved)), nil
}

// ForTranscript returns a view that may use one managed key, "<type>/<name>", also where it is
// reserved.
func (r *Registry) ForTranscript(label string) *Mount {
	return &Mount{r: r, path: "the transcript", allowed: []string{label}, transcript: true}
}

// unreserved refuses a key that is reserved for the transcript.
func (m *Mount) unreserved(s *snapshot, e *Entry, identity string) error {
	if _, ok := s.reserved[Reserved{Type: e.Type, Identity: identity}.key()]; !ok || m.transcript {
		return nil
	}
	return fault.New(fault.Invalid, "the key %s signs the transcript of this server, or has signed it: make a key of its "+
		"own for mounts", e.Label())
}

// signs reports whether a managed key signs the transcript now.
func (s *snapshot) signs(e *Entry) bool {
	for _, k := range s.reserved {
		if k.Active && e.Face == Managed && k.Label == e.Label() {
			return true
		}
	}
	return false
}

// keepSigner refuses a change after which a managed key could not sign the transcript any more.
func (s *snapshot) keepSigner(old, next *Entry) error {
	if old == nil || !s.signs(old) || old.Identity == next.Identity && slices.Contains(next.Usages, Sign) {
		return nil
	}
	return fault.New(fault.Invalid, "the managed key %s signs the transcript, so it stays the same key, with the usage "+
		"sign: name another signer in sys/config/transcript first, or remove it there", old.Label())
}
