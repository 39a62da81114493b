package device

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
)

// Face is the API by which a key is configured and named.
type Face uint8

// The faces.
const (
	Managed  Face = 1 // Vault's: "<type>/<name>", one record with the connection
	External Face = 2 // OpenBao's: "<config>:<key>", keys of a configuration, with grants
)

// Places behind the barrier.
const (
	Prefix         = "core/device-keys/"
	managedPrefix  = Prefix + "managed/"  // + type/name
	configPrefix   = Prefix + "configs/"  // + name
	externalPrefix = Prefix + "external/" // + config/name
)

// Entry is a key of a device that mounts may use.
type Entry struct {
	ID     string `json:"id"` // a UUID
	Face   Face   `json:"face"`
	Type   string `json:"type"`             // of its driver
	Config string `json:"config,omitempty"` // External: the name of the configuration
	Name   string `json:"name"`
	Params Params `json:"params"` // Managed: connection and key; External: of the key alone

	Usages        []Usage  `json:"usages"`
	AnyMount      bool     `json:"any_mount,omitempty"`
	AllowGenerate bool     `json:"allow_generate,omitempty"` // make keys in the device
	AllowReplace  bool     `json:"allow_replace,omitempty"`  // Managed: the parameters may select another key later
	AllowStore    bool     `json:"allow_store,omitempty"`    // import keys into the device
	AllowDestroy  bool     `json:"allow_destroy,omitempty"`  // destroy keys in the device
	Mounts        []string `json:"mounts,omitempty"`         // External: those that have a grant

	// External: by the path of a grant, the UUID of the mount that was there. A grant for a path
	// without a mount has none, and holds for the mount that will be there.
	MountIDs map[string]string `json:"mount_ids,omitempty"`

	Identity string `json:"identity,omitempty"` // what the parameters selected when they were written; "": no key yet
}

// Label names the entry in texts, logs and metrics.
func (e *Entry) Label() string {
	if e.Face == External {
		return e.Config + ":" + e.Name
	}
	return e.Type + "/" + e.Name
}

func (e *Entry) key() string {
	if e.Face == External {
		return externalPrefix + e.Config + "/" + e.Name
	}
	return managedPrefix + e.Type + "/" + e.Name
}

// may reports whether a mount has permission. A mount names managed keys by "<name>", as in Vault,
// or by "<type>/<name>", which leaves no choice where two types have the name. A grant ends with
// the mount that had it: a later mount at the same path has none.
func (e *Entry) may(m *Mount) bool {
	if e.Face == External {
		id, bound := e.MountIDs[m.path]
		return slices.Contains(e.Mounts, m.path) && (!bound || id == m.id)
	}
	return e.AnyMount || slices.Contains(m.allowed, e.Name) || slices.Contains(m.allowed, e.Label())
}

// Config is a connection of OpenBao's face.
type Config struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Params Params `json:"params"`
}

func (c *Config) key() string { return configPrefix + c.Name }

// ErrRecord is returned for stored bytes that are no record of this package.
var ErrRecord = errors.New("device: not a valid record")

// A record is stored as
//
//	version u8 = 1, or 2 for an entry with mount_ids | JSON
//
// of [Entry] or [Config]. Unknown members are refused: a later version changes the first byte.
const (
	recordVersion = 1
	boundVersion  = 2
)

func marshal(v any) (*secret.Bytes, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("device: encoding a record: %w", err)
	}
	defer clear(body)
	return secret.Copy(append([]byte{versionOf(v)}, body...)), nil
}

func versionOf(v any) byte {
	if e, ok := v.(*Entry); ok && len(e.MountIDs) > 0 {
		return boundVersion
	}
	return recordVersion
}

func unmarshal(b []byte, into any) error {
	if len(b) == 0 || b[0] != recordVersion && b[0] != boundVersion {
		return fmt.Errorf("%w: version %d or %d is expected", ErrRecord, recordVersion, boundVersion)
	}
	d := json.NewDecoder(bytes.NewReader(b[1:]))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: trailing bytes", ErrRecord)
	}
	if b[0] != versionOf(into) {
		return fmt.Errorf("%w: version %d is expected, not %d", ErrRecord, versionOf(into), b[0])
	}
	return nil
}

const maxName = 128

// checkName keeps names to one segment of a path, and free of the separators of references.
func checkName(what, name string) error {
	for _, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && !strings.ContainsRune("_-.", r) {
			return fault.New(fault.Invalid, "the name of the %s has a character other than letters, digits, '_', '-' and '.'",
				what)
		}
	}
	if name == "" || len(name) > maxName || strings.Trim(name, ".") == "" {
		return fault.New(fault.Invalid, "the name of the %s must have 1 to %d characters, not only dots", what, maxName)
	}
	return nil
}

// reference is what a version of a key stores:
//
//	version u8 = 1 | face u8 |
//	entry u16-length | name u16-length | id u16-length | identity u16-length
//
// entry is the [Entry]'s label; name and id are the [Ref] of this version's key; identity is the
// device's canonical name of it.
type reference struct {
	face     Face
	entry    string
	ref      Ref
	identity string
}

const referenceVersion = 1

func (r reference) marshal() (*secret.Bytes, error) {
	b := cryptobyte.NewBuilder([]byte{referenceVersion, byte(r.face)})
	for _, part := range []string{r.entry, r.ref.Name, r.ref.ID, r.identity} {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(part)) })
	}
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("device: encoding a reference: %w", err)
	}
	return secret.New(out), nil
}

func parseReference(b []byte) (r reference, err error) {
	in := cryptobyte.String(b)
	var version, face uint8
	var parts [4]cryptobyte.String
	ok := in.ReadUint8(&version) && version == referenceVersion && in.ReadUint8(&face)
	for i := range parts {
		ok = ok && in.ReadUint16LengthPrefixed(&parts[i])
	}
	if !ok || !in.Empty() || face != byte(Managed) && face != byte(External) {
		return r, fmt.Errorf("%w: version %d of a reference is expected", ErrRecord, referenceVersion)
	}
	return reference{Face(face), string(parts[0]), Ref{string(parts[1]), string(parts[2])}, string(parts[3])}, nil
}
