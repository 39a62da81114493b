package mount

import (
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
)

// class is what differs between the tables of secrets engines and of auth methods.
type class struct {
	table      string // key of the barrier: the table
	tombstones string // + uuid: the mount is gone, its entries may not be
	data       string // + uuid + "/": a mount's entries
	accessor   string // what an accessor begins with
	builtin    []Entry
	protected  []string // beginnings of paths at which nothing can be mounted
	keep       string   // the text for who would unmount one of these
}

var engines = class{
	table: "core/mounts", tombstones: "core/unmounted/", data: "logical/",
	// "system" is answered by the API itself.
	builtin: []Entry{
		{Path: "cubbyhole/", Type: "cubbyhole", Description: "per-token private secret storage", Local: true},
		{Path: "identity/", Type: "identity", Description: "identity store"},
		{Path: "sys/", Type: "system", Description: "system endpoints used for control, policy and debugging"},
	},
	protected: []string{"sys/", "auth/", "audit/", "cubbyhole/", "identity/"},
	keep:      "cannot unmount %q",
}

// logins are the auth methods. Their paths are without the "auth/" in front.
var authMethods = class{
	table: "core/auth", tombstones: "core/auth-unmounted/", data: "credential/", accessor: "auth_",
	// "token" is answered by the API itself.
	builtin:   []Entry{{Path: "token/", Type: "token", Description: "token based credentials"}},
	protected: []string{"token/"},
	keep:      "token credential backend cannot be disabled: %q is on every server",
}

func (c *class) isProtected(path string) bool {
	return slices.ContainsFunc(c.protected, func(p string) bool { return strings.HasPrefix(path, p) })
}

func (c *class) isBuiltin(name string) bool {
	return slices.ContainsFunc(c.builtin, func(b Entry) bool { return b.Type == name })
}

// complete gives a mount the identifiers that it keeps for life.
func (c *class) complete(m Entry, rnd io.Reader) (Entry, error) {
	id := make([]byte, 20)
	if _, err := io.ReadFull(rnd, id); err != nil {
		return m, fmt.Errorf("mount: making a mount's identifiers: %w", err)
	}
	m.UUID = uuid(id[:16])
	m.Accessor = c.accessor + m.Type + "_" + hex.EncodeToString(id[16:])
	return m, nil
}
