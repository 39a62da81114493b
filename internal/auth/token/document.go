package token

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// policyPrefix is the key prefix of policy documents; the escaped name follows.
const policyPrefix = "core/policy/"

// Policy names with a meaning of their own.
const (
	rootPolicy    = "root"              // allows everything; it has no document
	defaultPolicy = "default"           // every token has it unless created without
	wrapPolicy    = "response-wrapping" // the policy of wrapping tokens; cannot be assigned
)

// defaultText is the default policy until it is overwritten: what a token may read about itself and
// do to itself.
const defaultText = `# What every token may do about itself.
path "auth/token/lookup-self" {
    capabilities = ["read"]
}
path "auth/token/renew-self" {
    capabilities = ["update"]
}
path "auth/token/revoke-self" {
    capabilities = ["update"]
}
path "sys/capabilities-self" {
    capabilities = ["update"]
}
path "sys/internal/ui/resultant-acl" {
    capabilities = ["read"]
}

# Its own entity, where it has one.
path "identity/entity/id/{{identity.entity.id}}" {
    capabilities = ["read"]
}
path "identity/entity/name/{{identity.entity.name}}" {
    capabilities = ["read"]
}

# Leases whose identifier it knows.
path "sys/leases/renew" {
    capabilities = ["update"]
}
path "sys/leases/lookup" {
    capabilities = ["update"]
}

# A place that no other token can read, and wrapped answers.
path "cubbyhole/*" {
    capabilities = ["create", "read", "update", "delete", "list"]
}
path "sys/wrapping/wrap" {
    capabilities = ["update"]
}
path "sys/wrapping/lookup" {
    capabilities = ["update"]
}
path "sys/wrapping/unwrap" {
    capabilities = ["update"]
}

# Arithmetic.
path "sys/tools/hash" {
    capabilities = ["update"]
}
path "sys/tools/hash/*" {
    capabilities = ["update"]
}

# Logging in elsewhere with its identity.
path "identity/oidc/provider/+/authorize" {
    capabilities = ["read", "update"]
}
`

// Document is a policy as it was written. It is stored behind the barrier at "core/policy/<name,
// escaped>":
//
//	version u8 = 1 | JSON with the keys below
type Document struct {
	Name        string    `json:"-"`
	Text        string    `json:"policy"`
	Version     int       `json:"version"` // starts at 1, incremented by every write
	Modified    time.Time `json:"modified"`
	CASRequired bool      `json:"cas_required,omitempty"`
	Expiration  time.Time `json:"expiration,omitzero"`
}

const (
	documentVersion = 1
	maxPolicyName   = 512
)

func unmarshalDocument(record []byte) (*Document, error) {
	if len(record) == 0 || record[0] != documentVersion {
		return nil, fmt.Errorf("%w: a policy's version must be %d", ErrRecord, documentVersion)
	}
	d := &Document{}
	if err := json.Unmarshal(record[1:], d); err != nil {
		return nil, fmt.Errorf("%w: a policy: %w", ErrRecord, err)
	}
	return d, nil
}

var errNoPolicy = fault.New(fault.NotFound, "no policy has this name")

// Policy reads a document. An unknown or expired one is a [fault.NotFound]. The root policy's text
// is empty.
func (s *Policies) Policy(ctx context.Context, name string) (*Document, error) {
	name = strings.ToLower(name)
	if name == rootPolicy {
		return &Document{Name: name}, nil
	}
	defer s.meters.getPolicy.Since(time.Now())
	record, err := s.entries.Get(ctx, policyKey(name))
	switch {
	case errors.Is(err, storage.ErrNotFound) && name == defaultPolicy:
		return &Document{Name: name, Text: defaultText, Version: 1}, nil
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrInvalidKey):
		return nil, errNoPolicy
	case err != nil:
		return nil, err
	}
	d, err := unmarshalDocument(record)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the record of the policy %q is damaged; overwrite or delete it", name)
	}
	d.Name = name
	if !d.Expiration.IsZero() && !s.now().Before(d.Expiration) {
		return nil, errNoPolicy
	}
	return d, nil
}

// PolicyNames lists all names in alphabetical order, with root last.
func (s *Policies) PolicyNames(ctx context.Context) ([]string, error) {
	defer s.meters.listPolicies.Since(time.Now())
	names := []string{defaultPolicy}
	err := s.each(ctx, policyPrefix, func(name string) error {
		names = append(names, unescape(name))
		return nil
	})
	slices.Sort(names)
	return append(slices.Compact(names), rootPolicy), err
}

// PolicyWrite is a document to store.
type PolicyWrite struct {
	Name, Text  string // plain text or base64
	CAS         *int   // the version that must exist; 0: none; -1 or nil: any
	CASRequired *bool
	Expiration  time.Time
	Patch       bool // keeps the fields that are not set; the policy must exist, else [fault.NotFound]
}

// Errors about policies, with Vault's texts.
var (
	errNoText        = fault.New(fault.Invalid, "'policy' parameter not supplied or empty")
	errRootWrite     = fault.New(fault.Invalid, `cannot update "root" policy`)
	errRootDelete    = fault.New(fault.Invalid, `cannot delete "root" policy`)
	errDefaultDelete = fault.New(fault.Invalid, "cannot delete default policy")
)

// WritePolicy checks and stores a document. Every request that begins after it returns is judged by
// the new text.
func (s *Policies) WritePolicy(ctx context.Context, w PolicyWrite) error {
	defer s.meters.setPolicy.Since(time.Now())
	name := strings.ToLower(w.Name)
	if w.Text == "" && !w.Patch {
		return errNoText
	}
	if raw, err := base64.StdEncoding.DecodeString(w.Text); err == nil && utf8.Valid(raw) {
		w.Text = string(raw)
	}
	if _, err := policy.Parse(w.Text); err != nil {
		return fault.New(fault.Invalid, "failed to parse policy: %v", err)
	}
	switch {
	case name == rootPolicy:
		return errRootWrite
	case len(name) > maxPolicyName:
		return fault.New(fault.Invalid, "the name of the policy has %d bytes; at most %d are accepted", len(name),
			maxPolicyName)
	case name != strings.TrimSpace(name):
		return fault.New(fault.Invalid, "the name of the policy begins or ends with a space, so no token could reference "+
			"it; remove the space")
	}
	s.policies.writing.Lock()
	defer s.policies.writing.Unlock()
	now, err := s.Policy(ctx, name)
	if w.Patch {
		if err != nil {
			return err
		}
		w.Text = cmp.Or(w.Text, now.Text)
		if w.Expiration.IsZero() {
			w.Expiration = now.Expiration
		}
	}
	if err != nil && !fault.Is(err, fault.NotFound) {
		now = &Document{} // a damaged record is replaced
	}
	if now == nil {
		now = &Document{}
	}
	next := &Document{Text: w.Text, Version: now.Version + 1, Modified: s.now(), CASRequired: now.CASRequired,
		Expiration: w.Expiration}
	if w.CASRequired != nil {
		next.CASRequired = *w.CASRequired
	}
	if err := checkVersion(now, next, w.CAS); err != nil {
		return err
	}
	body, err := json.Marshal(next)
	if err != nil {
		return err
	}
	return s.changePolicy(ctx, name, storage.Put(policyKey(name), append([]byte{documentVersion}, body...)))
}

func checkVersion(now, next *Document, cas *int) error {
	switch {
	case cas == nil && (now.CASRequired || next.CASRequired):
		return fault.New(fault.Invalid, "check-and-set parameter required for this call: set cas to the version that you "+
			"read (now %d)",
			now.Version)
	case cas == nil, *cas == -1 && !now.CASRequired, *cas == now.Version:
		return nil
	}
	return fault.New(fault.Invalid, "check-and-set parameter did not match the current version: it is %d; read the "+
		"policy again", now.Version)
}

// changePolicy commits one change and invalidates the cache, even if the outcome is unknown.
func (s *Policies) changePolicy(ctx context.Context, name string, op storage.Op) error {
	defer s.policies.forget(name)
	return s.entries.Commit(ctx, storage.Batch{Ops: []storage.Op{op}})
}

// DeletePolicy removes a document. A missing one is not an error.
func (s *Policies) DeletePolicy(ctx context.Context, name string) error {
	defer s.meters.deletePolicy.Since(time.Now())
	name = strings.ToLower(name)
	switch name {
	case rootPolicy:
		return errRootDelete
	case defaultPolicy:
		return errDefaultDelete
	}
	s.policies.writing.Lock()
	defer s.policies.writing.Unlock()
	return s.changePolicy(ctx, name, storage.Delete(policyKey(name)))
}
