package mount

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/uuid"
)

// Entry is one mount of the table.
type Entry struct {
	Path        string            `json:"path"` // "secret/"
	Type        string            `json:"type"` // "kv"
	Description string            `json:"description,omitempty"`
	Accessor    string            `json:"accessor"` // "kv_1a2b3c4d"
	UUID        string            `json:"uuid"`     // its entries are below "logical/<uuid>/"
	Options     map[string]string `json:"options,omitempty"`
	Local       bool              `json:"local,omitempty"`
	SealWrap    bool              `json:"seal_wrap,omitempty"`
	Config      Config            `json:"config,omitzero"`
}

// Config holds the tunable settings. Durations are seconds; 0 means the system's default.
type Config struct {
	DefaultLeaseTTL          int64    `json:"default_lease_ttl,omitempty"`
	MaxLeaseTTL              int64    `json:"max_lease_ttl,omitempty"`
	ForceNoCache             bool     `json:"force_no_cache,omitempty"`
	ListingVisibility        string   `json:"listing_visibility,omitempty"`          // "", Hidden or Unauth
	AuditNonHMACRequestKeys  []string `json:"audit_non_hmac_request_keys,omitempty"` // audited in plain text
	AuditNonHMACResponseKeys []string `json:"audit_non_hmac_response_keys,omitempty"`
	// stored and shown; no backend uses any
	PassthroughRequestHeaders []string `json:"passthrough_request_headers,omitempty"`
	// stored and shown; no backend uses any
	AllowedResponseHeaders []string `json:"allowed_response_headers,omitempty"`
	// managed keys that a transit mount may use
	AllowedManagedKeys []string `json:"allowed_managed_keys,omitempty"`
	// auth methods only: the type of their tokens, see [Config.Check]
	TokenType string   `json:"token_type,omitempty"`
	Lockout   *Lockout `json:"user_lockout,omitempty"` // auth methods only
}

// Values of ListingVisibility: whether clients without access see the mount.
const (
	Hidden = "hidden"
	Unauth = "unauth"
)

// DefaultLeaseTTL is the default lease in seconds, 32 days. It is also the maximum.
const DefaultLeaseTTL = 2764800

// Effective returns the lease times in effect, in seconds.
func (c Config) Effective() (lease, most int64) {
	most = cmp.Or(c.MaxLeaseTTL, DefaultLeaseTTL)
	return min(cmp.Or(c.DefaultLeaseTTL, DefaultLeaseTTL), most), most
}

// Lockout says when failed logins lock a user out. Durations are seconds; 0 means the server's
// setting.
type Lockout struct {
	Threshold    int64 `json:"threshold,omitempty"`     // consecutive failures
	Duration     int64 `json:"duration,omitempty"`      // of the lock-out
	CounterReset int64 `json:"counter_reset,omitempty"` // after which failures are forgotten
	Disable      bool  `json:"disable,omitempty"`
}

// Check returns a [fault.Invalid] for contradictory settings.
func (c Config) Check() error {
	if c.DefaultLeaseTTL < 0 || c.MaxLeaseTTL < 0 || c.MaxLeaseTTL > 0 && c.DefaultLeaseTTL > c.MaxLeaseTTL {
		return fault.New(fault.Invalid, "default_lease_ttl and max_lease_ttl must not be negative, and the default must "+
			"not exceed the maximum")
	}
	switch c.TokenType {
	case "", "service", "batch", "default-service", "default-batch":
	default:
		return fault.New(fault.Invalid,
			`invalid token_type %q: give "default-service", "default-batch", "service" or "batch"`, c.TokenType)
	}
	if l := c.Lockout; l != nil && (l.Threshold < 0 || l.Duration < 0 || l.CounterReset < 0) {
		return fault.New(fault.Invalid, "user_lockout_config: the values must not be negative")
	}
	switch c.ListingVisibility {
	case "", Hidden, Unauth:
		return nil
	}
	return fault.New(fault.Invalid, `invalid listing_visibility %q: give "hidden", "unauth" or ""`, c.ListingVisibility)
}

func (m Entry) equal(o Entry) bool { return reflect.DeepEqual(m, o) }

// DevMount is the mount at secret/ of a development server: the key-value engine, version "1" or
// "2".
func DevMount(version string) Entry {
	return Entry{Path: "secret/", Type: "kv", Description: "key/value secret storage",
		Options: map[string]string{"version": version}}
}

const maxPath = 256

// CleanPath returns a mount's path as the table stores it: no leading slash, one trailing slash. A
// path that cannot be mounted is a [fault.Invalid].
func CleanPath(path string) (string, error) {
	clean := strings.Trim(path, "/")
	switch {
	case clean == "":
		return "", fault.New(fault.Invalid, "the path of the mount is missing: append it to sys/mounts/")
	case len(clean) > maxPath:
		return "", fault.New(fault.Invalid, "the path of the mount has %d bytes; at most %d are allowed", len(clean), maxPath)
	case !utf8.ValidString(clean) || strings.ContainsFunc(clean, func(r rune) bool {
		return !unicode.IsPrint(r) || r == ' '
	}):
		return "", fault.New(fault.Invalid, "the path of the mount contains a space or an unprintable character; choose "+
			"another path")
	}
	for segment := range strings.SplitSeq(clean, "/") {
		if segment == "" || segment == "." || segment == ".." || strings.ContainsAny(segment, "*+") {
			return "", fault.New(fault.Invalid, "the path of the mount %q has the segment %q, which no policy can match; "+
				"choose another path",
				clean, segment)
		}
	}
	return clean + "/", nil
}

// ErrRecord is returned for stored bytes that are not a table of mounts.
var ErrRecord = errors.New("mount: not a valid table of mounts")

const tableVersion = 1

// record is the stored table, behind the barrier at "core/mounts":
//
//	version u8 = 1 | JSON {"mounts":[ mount, ... ]}, sorted by path
//
// A mount's keys are the tags of [Entry]. Unknown keys are refused: a later version
// changes the first byte.
type record struct {
	Mounts []Entry `json:"mounts"`
}

func marshalTable(mounts []Entry) ([]byte, error) {
	body, err := json.Marshal(record{Mounts: mounts})
	if err != nil {
		return nil, fmt.Errorf("mount: writing the table of mounts: %w", err)
	}
	return append([]byte{tableVersion}, body...), nil
}

func unmarshalTable(b []byte) ([]Entry, error) {
	if len(b) == 0 || b[0] != tableVersion {
		return nil, fmt.Errorf("%w: the version must be %d", ErrRecord, tableVersion)
	}
	d := json.NewDecoder(bytes.NewReader(b[1:]))
	d.DisallowUnknownFields()
	var r record
	if err := d.Decode(&r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: trailing bytes", ErrRecord)
	}
	for i, m := range r.Mounts {
		if clean, err := CleanPath(m.Path); err != nil || clean != m.Path || !uuid.Valid(m.UUID) {
			return nil, fmt.Errorf("%w: the mount %q with the id %q", ErrRecord, m.Path, m.UUID)
		}
		if i > 0 && r.Mounts[i-1].Path >= m.Path {
			return nil, fmt.Errorf("%w: %q is out of order or a duplicate", ErrRecord, m.Path)
		}
	}
	return r.Mounts, nil
}
