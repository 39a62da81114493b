// Package gateway is what the protocols of other systems share: the role of the node that answers,
// the policies that decide, and the audit trail.
//
// It guarantees that a call is recorded before it takes effect and its result before it is
// answered; that a call without a policy that allows it reaches no key; and that a result of a
// role that ended meanwhile is not answered, but computed again in the node's next role. A standby
// answers by its own memory, once it has proven that it knows all that was committed before the
// call.
//
// It does not authenticate callers: each protocol does.
package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"

	"github.com/sealgate/sealgate/internal/audit"
	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/uuid"
)

// View is the part of the node's role that a call uses.
type View struct {
	Tokens *token.Store
	Mounts *mount.Table
}

// Roles finds the role that answers.
type Roles interface {
	// Do runs f in the node's role, and again in the next one where the role ended meanwhile. f must
	// change nothing. The error is of kind Sealed or Unavailable where no role answers before ctx
	// ends.
	Do(ctx context.Context, f func(ctx context.Context, v View) error) error
}

// Core is the part of the server that a gateway uses.
type Core struct {
	Roles Roles
	Trail *audit.Trail
	Log   *slog.Logger
}

// Caller is who calls by a protocol, as the protocol has authenticated it.
type Caller struct {
	Name     string   // of the display name in audit entries and in the census of key versions
	Policies []string // that decide
	Remote   string   // the address, "" where there is none
}

// Key is a key of a mount: "transit" and "orders".
type Key struct{ Mount, Name string }

// Path returns the policy path of an operation: "transit/encrypt/orders".
func (k Key) Path(operation string) string {
	return strings.Trim(k.Mount, "/") + "/" + operation + "/" + k.Name
}

// errNoKeys is returned for a mount whose engine has no keys for gateways.
var errNoKeys = fault.New(fault.Invalid, "the mount has no keys that a gateway can serve: use one of type transit")

// Open opens a key. It decides nothing about permissions.
func (v View) Open(ctx context.Context, k Key, by string) (*keys.Named, error) {
	backend, _, name, err := v.Mounts.Route(strings.Trim(k.Mount, "/") + "/" + k.Name)
	if err != nil {
		return nil, err
	}
	o, ok := backend.(keys.Opener)
	if !ok || name != k.Name {
		return nil, errNoKeys
	}
	return o.OpenKey(ctx, name, by)
}

// Authorize asks the caller's policies for update on a path, and returns those that allow it.
func (v View) Authorize(ctx context.Context, c Caller, path string, fields token.Parameters) ([]string, error) {
	return token.As(ctx, v.Tokens, c.Policies, token.Need{Path: path, Capability: token.Update, Parameters: fields,
		Remote: c.Remote})
}

// Entry is what the audit trail shows of a call. All texts of Shown are in the clear, so they hold
// nothing secret.
type Entry struct {
	Path  string
	Type  string // of the protocol, in the place of a mount's type: "kmsv2"
	Shown map[string]string
}

// Audited carries out a call between its two entries in the audit trail. authorize decides, and
// work acts; both may run again in another role. The result of a call that could not be recorded is
// withheld.
func Audited[T any](ctx context.Context, c *Core, who Caller, e Entry,
	authorize func(ctx context.Context, v View) (granting []string, err error),
	work func(ctx context.Context, v View) (T, map[string]string, error),
) (T, error) {
	var none, result T
	var granting []string
	refused := c.Roles.Do(ctx, func(ctx context.Context, v View) (err error) {
		granting, err = authorize(ctx, v)
		return err
	})
	if refused != nil && !fault.Is(refused, fault.Denied) {
		return none, refused // nothing was asked of a key: the node is sealed, or the storage is unavailable
	}
	respond, err := c.Begin(who, e, granting, refused)
	if err != nil {
		return none, err
	}
	failed := refused
	var shown map[string]string
	if refused == nil {
		failed = c.Roles.Do(ctx, func(ctx context.Context, v View) (err error) {
			if _, err := authorize(ctx, v); err != nil { // of this role: a policy may have changed
				return err
			}
			result, shown, err = work(ctx, v)
			return err
		})
	}
	if err := respond(shown, text(failed)); err != nil {
		return none, err
	}
	if failed != nil {
		return none, failed
	}
	return result, nil
}

// Begin records a call, which may then be carried out; refused is why it will not be. respond
// records the answer, which may then be given; failure is its error, "" for none.
func (c *Core) Begin(who Caller, e Entry, granting []string, refused error) (
	respond func(shown map[string]string, failure string) error, err error,
) {
	if !c.Trail.Enabled() { // unsealed, and no device
		return func(map[string]string, string) error { return nil }, nil
	}
	rec, err := c.record(who, e, granting, refused)
	if err != nil {
		return nil, err
	}
	if err := rec.Request(text(refused)); err != nil {
		return nil, unrecorded(err)
	}
	return func(shown map[string]string, failure string) error {
		response := &audit.Response{}
		var err error
		if response.Data, response.Plain, err = plain(shown); err != nil {
			return err
		}
		if err := rec.Response(response, failure); err != nil {
			return unrecorded(err)
		}
		return nil
	}, nil
}

func (c *Core) record(who Caller, e Entry, granting []string, refused error) (*audit.Record, error) {
	id, err := uuid.New(nil)
	if err != nil {
		return nil, fmt.Errorf("gateway: making a request id: %w", err)
	}
	r := &audit.Request{ID: id, Operation: mount.Update.String(), Path: e.Path,
		Mount: &audit.Mount{Point: e.Type + "/", Type: e.Type, Class: "gateway"}}
	if r.Data, r.Plain, err = plain(e.Shown); err != nil {
		return nil, err
	}
	if host, port, err := net.SplitHostPort(who.Remote); err == nil {
		r.RemoteAddress = host
		r.RemotePort, _ = strconv.Atoi(port)
	}
	a := &audit.Auth{DisplayName: who.Name, Policies: who.Policies, TokenPolicies: who.Policies,
		Results: &audit.PolicyResults{Allowed: refused == nil, Granting: granting}}
	return c.Trail.Begin(r, a), nil
}

// plain encodes texts that audit entries show in the clear.
func plain(shown map[string]string) (json.RawMessage, []string, error) {
	if len(shown) == 0 {
		return nil, nil, nil
	}
	raw, err := json.Marshal(shown)
	names := make([]string, 0, len(shown))
	for name := range shown {
		names = append(names, name)
	}
	return raw, names, err
}

func text(err error) string {
	if err == nil {
		return ""
	}
	if e := (*fault.Error)(nil); errors.As(err, &e) {
		return e.Message
	}
	return "internal error; see the server's log"
}

// ErrUnrecorded is wrapped by the error of a call that the audit trail could not record.
var ErrUnrecorded = errors.New("gateway: the audit trail did not record the call")

func unrecorded(err error) error {
	return fault.Wrap(errors.Join(ErrUnrecorded, err), fault.Unavailable,
		"the call cannot be audited, so it is not answered; see the audit devices")
}
