package mount

import (
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/uuid"
)

// class holds the differences between the tables of secrets engines and of auth methods.
type class struct {
	table      string // storage key of the table
	tombstones string // + uuid: tombstone of an unmounted path whose entries are still to be removed
	data       string // + uuid + "/": a mount's entries
	accessor   string // prefix of the accessors
	builtin    []Entry
	tunable    string   // the protected path that can be tuned
	protected  []string // path prefixes at which nothing can be mounted
	keep       string   // error text for an attempt to unmount one of these
}

var engines = class{
	table: "core/mounts", tombstones: "core/unmounted/", data: "logical/",
	// The API itself answers "system".
	builtin: []Entry{
		{Path: "cubbyhole/", Type: "cubbyhole", Description: "per-token private secret storage", Local: true},
		{Path: "identity/", Type: "identity", Description: "identity store"},
		{Path: "sys/", Type: "system", Description: "system endpoints used for control, policy and debugging"},
	},
	protected: []string{"sys/", "auth/", "audit/", "cubbyhole/", "identity/"},
	keep:      "cannot unmount %q",
}

// authMethods is the class of auth methods. Their paths omit the leading "auth/".
var authMethods = class{
	table: "core/auth", tombstones: "core/auth-unmounted/", data: "credential/", accessor: "auth_",
	// The API itself answers "token".
	builtin:   []Entry{{Path: "token/", Type: "token", Description: "token based credentials"}},
	protected: []string{"token/"},
	tunable:   "token/",
	keep:      "token credential backend cannot be disabled: %q is built in",
}

func (c *class) isProtected(path string) bool {
	return slices.ContainsFunc(c.protected, func(p string) bool { return strings.HasPrefix(path, p) })
}

func (c *class) isBuiltin(name string) bool {
	return slices.ContainsFunc(c.builtin, func(b Entry) bool { return b.Type == name })
}

// complete sets the identifiers that a mount keeps for life.
func (c *class) complete(m Entry, rnd io.Reader) (Entry, error) {
	id := make([]byte, 20)
	if _, err := io.ReadFull(rnd, id); err != nil {
		return m, fmt.Errorf("mount: making a mount's identifiers: %w", err)
	}
	m.UUID = uuid.Text(uuid.Of([16]byte(id[:16])))
	m.Accessor = c.accessor + m.Type + "_" + hex.EncodeToString(id[16:])
	return m, nil
}
