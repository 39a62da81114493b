package token

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// CreateRequest describes a token to create. Zero values mean Vault's defaults.
type CreateRequest struct {
	Path         string // of the request, such as "auth/token/create"
	ID           string // chosen by the caller; "" means random
	Policies     []string
	NoDefault    bool
	TTL          time.Duration
	ExplicitMax  time.Duration
	Period       time.Duration
	NotRenewable bool
	Uses         int64
	Type         string // "service", "batch", ""
	DisplayName  string
	Meta         map[string]string
	NoParent     bool // requests an orphan, which needs sudo
	Orphan       bool // an orphan, through an endpoint that needs no sudo
	EntityAlias  string
	Role         *Role

	// The lease times of the mount token/; 0: as usual.
	MountDefault, MountMax time.Duration
}

// Created is a new token; its text is stored nowhere.
type Created struct {
	Text     string
	Token    *Token
	Warnings []string
}

func invalid(format string, args ...any) error { return fault.New(fault.Invalid, format, args...) }

// creation is a token creation in progress.
type creation struct {
	s *Store
	CreateRequest
	parent *entry
	sudo   bool
	token  *Token
	warn   []string
}

// CreateToken creates a child of the token of who. Errors are [fault.Invalid], with Vault's texts.
func (s *Store) CreateToken(ctx context.Context, who Identity, req CreateRequest) (*Created, error) {
	if who.entry == nil {
		return nil, errDenied
	}
	defer s.meters.create.Since(time.Now())
	sudo, err := s.HasSudo(ctx, who, req.Path)
	if err != nil {
		return nil, err
	}
	c := &creation{s: s, CreateRequest: req, parent: who.entry, sudo: sudo,
		token: &Token{Path: req.Path, Created: s.now(), Meta: req.Meta}}
	for _, step := range []func(context.Context) error{
		c.checkParent, c.checkRights, c.chooseType, c.choosePolicies, c.chooseOrigin, c.chooseLife, c.checkBatch,
		c.checkPolicies,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return c.store(ctx)
}

func (c *creation) checkParent(context.Context) error {
	switch t := c.parent.token; {
	case t.Type == TypeBatch:
		return invalid("batch tokens cannot create more tokens")
	case t.Uses != 0:
		return invalid("restricted use token cannot generate child tokens")
	}
	return nil
}

func (c *creation) checkRights(context.Context) error {
	switch {
	case c.EntityAlias != "" &&
		(c.Role == nil || !slices.Contains(c.Role.AllowedEntityAliases, strings.ToLower(c.EntityAlias))):
		return invalid("invalid 'entity_alias' value")
	case c.EntityAlias != "":
		return invalid("'entity_alias' cannot be honoured: this server keeps no entities; create the token without it")
	case c.Uses < 0:
		return invalid("number of uses cannot be negative")
	case c.ID != "" && !c.sudo:
		return invalid("root or sudo privileges required to specify token id")
	case strings.HasPrefix(c.ID, "s."):
		return invalid("custom token ID cannot have the 's.' prefix")
	case strings.HasPrefix(c.ID, "hvs."):
		return invalid("custom token ID cannot have the 'hvs.' prefix")
	case strings.Contains(c.ID, "."):
		return invalid("custom token ID cannot have the '.' in the value")
	case c.NoParent && !c.sudo && !c.Orphan && (c.Role == nil || !c.Role.Orphan):
		return invalid("root or sudo privileges required to create orphan token")
	case c.Period != 0 && !c.sudo:
		return invalid("root or sudo privileges required to create periodic token")
	case c.Period < 0:
		return invalid("period must be positive")
	case c.TTL < 0:
		return invalid("ttl must be positive")
	case c.ExplicitMax < 0:
		return invalid("explicit_max_ttl must be positive")
	}
	if c.ID != "" {
		return CheckTokenText(c.ID)
	}
	return nil
}

// chooseType applies the role's type; a "default-" type can be overridden by the request.
func (c *creation) chooseType(context.Context) error {
	kind := c.Type
	if c.Role != nil {
		preset, isDefault := strings.CutPrefix(c.Role.TokenType, "default-")
		if !isDefault || kind == "" {
			kind = preset
		}
	}
	switch kind {
	case "", "service":
		c.token.Type = TypeService
	case "batch":
		c.token.Type = TypeBatch
	default:
		return invalid("invalid 'token_type' value")
	}
	return nil
}

// chooseOrigin sets the parent, the path and the display name.
func (c *creation) chooseOrigin(context.Context) error {
	orphan := c.NoParent || c.Orphan
	if r := c.Role; r != nil {
		orphan = orphan || r.Orphan
		c.token.Role = r.Name
		c.token.Path = "auth/token/create/" + r.Name
		if r.PathSuffix != "" {
			c.token.Path += "/" + r.PathSuffix
		}
		c.token.Networks = r.TokenBoundCIDRs
		if n := r.TokenNumUses; n > 0 && (c.Uses == 0 || c.Uses > n) {
			c.Uses = n
		}
	}
	if !orphan {
		c.token.Parent = slices.Clone(c.parent.digest[:])
	}
	c.token.Uses = c.Uses
	c.token.DisplayName = displayName(c.DisplayName)
	return nil
}

// displayName is "token", or "token-" and the given name in which everything but letters and digits
// is a dash.
func displayName(given string) string {
	clean := strings.TrimSuffix(strings.Map(func(r rune) rune {
		if r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, given), "-")
	if clean == "" {
		return "token"
	}
	return "token-" + clean
}

// checkBatch refuses what a batch token cannot have.
func (c *creation) checkBatch(context.Context) error {
	if c.token.Type != TypeBatch {
		return nil
	}
	bad := ""
	switch {
	case c.token.Root():
		return invalid("batch tokens cannot be root tokens")
	case c.ID != "":
		bad = "id"
	case c.Uses != 0:
		bad = "num_uses"
	case c.token.Period != 0:
		bad = "period"
	case c.token.ExplicitMax != 0:
		bad = "explicit_max_ttl"
	}
	if bad != "" {
		return invalid("batch tokens cannot have %q set", bad)
	}
	c.token.Renewable = false
	return nil
}

// store generates the text and the accessor, and writes the token's entries in one commit.
func (c *creation) store(ctx context.Context) (*Created, error) {
	var err error
	text := c.ID
	if c.token.Type == TypeBatch {
		if text, err = c.s.sealBatch(ctx, c.token); err != nil {
			return nil, err
		}
		c.s.meters.created.Inc()
		return &Created{text, c.token, c.warn}, nil
	}
	if text != "" {
		c.warn = append(c.warn, "Supplying a custom ID for the token: a client that guesses the ID has the token; leave the "+
			"ID out, and a random one is made")
	} else {
		if text, err = NewTokenText(c.s.rnd); err != nil {
			return nil, err
		}
	}
	if c.token.Accessor, err = base62(c.s.rnd, randomChars); err != nil {
		return nil, err
	}
	if err := c.commit(ctx, c.s.digest(text)); err != nil {
		return nil, err
	}
	return &Created{text, c.token, c.warn}, nil
}

var errDuplicate = fault.New(fault.Invalid, "cannot create a token with a duplicate ID")

func (c *creation) commit(ctx context.Context, d digest) error {
	record, err := c.token.Marshal()
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the token's metadata, policies or names are too long to store; shorten them")
	}
	b := storage.Batch{
		If: []storage.Condition{storage.IfAbsent(tokenKey(d)), storage.IfAbsent(endedKey(d)),
			storage.IfAbsent(releasedKey(d))},
		Ops: []storage.Op{
			storage.Put(tokenKey(d), record),
			storage.Put(c.s.accessorKey(c.token.Accessor), marshalAccessor(d)),
		},
	}
	if !c.token.Expires.IsZero() {
		b.Ops = append(b.Ops, storage.Put(expiryKey(c.token.Expires, d), mark), storage.Put(leaseKey(c.token, d), mark))
	}
	if !c.token.Orphan() {
		b.Ops = append(b.Ops, storage.Put(childKey(c.parent.digest, d), mark))
		// The parent must not end between this check and the commit: the clean-up would miss the
		// child.
		l := c.s.lock(c.parent.digest)
		l.RLock()
		defer l.RUnlock()
		e, err := c.s.read(ctx, c.parent.digest)
		if err == nil {
			err = c.s.living(ctx, e)
		}
		if err != nil {
			return err
		}
	}
	begun := time.Now()
	if err := c.s.entries.Commit(ctx, b); errors.Is(err, storage.ErrConflict) {
		return errDuplicate
	} else if err != nil {
		return err
	}
	c.s.meters.store.Since(begun)
	if !c.token.Expires.IsZero() {
		c.s.meters.register.Since(begun)
	}
	c.s.meters.created.Inc()
	return nil
}

// shortDuration omits minutes and seconds from whole hours: "768h".
func shortDuration(d time.Duration) string {
	s := d.Round(time.Second).String()
	s, cut := strings.CutSuffix(s, "m0s")
	if cut {
		if h, ok := strings.CutSuffix(s, "h0"); ok {
			return h + "h"
		}
		return s + "m"
	}
	return s
}

func cappedTTL(asked, given time.Duration) string {
	return fmt.Sprintf("TTL of %q exceeded the effective max_ttl of %q; TTL value is capped accordingly",
		shortDuration(asked), shortDuration(given))
}
