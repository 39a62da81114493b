// Package userpass is the auth method with user names and passwords.
//
// It guarantees that a password is stored only as a bcrypt hash, or as one of PBKDF2 where FIPS
// 140-3 is required; that a login with an unknown name
// takes as much work as one with a known name, and is refused with the same text; and that at most
// as many passwords are hashed concurrently as there are processors, so a flood of logins does not
// starve the rest of the program.
//
// A user can have a second factor, a time-based code (RFC 6238): it guarantees that each code
// counts once, that a wrong or missing code is refused with the text of a wrong password and counts
// as one, and that the secret is returned only by the request that makes it. Guesses of codes are
// bounded by the lock-out of users, like those of passwords.
//
// It does not protect weak passwords; [mount.AliasLookup] lets the caller lock users out.
//
// Where FIPS 140-3 is required, users whose password is kept by bcrypt cannot log in until it is
// set again.
//
// Stays compatible: the records below "user/", and password hashes in bcrypt's usual form or as
// "$pbkdf2-sha256$" rounds "$" salt "$" hash, both in base64.
package userpass

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/fips"
	"github.com/sealgate/sealgate/internal/mount"
)

const (
	userPrefix = "user/"
	cost       = 10 // of bcrypt: 1,024 rounds, some 50 ms
	maxCost    = 14 // of a given password_hash

	// Salt and hash for unknown users, in bcrypt's base64; they match no password in practice.
	noSalt = "nobodynobodynobodynobu"
	noHash = "nobodynobodynobodynobodynobodyu"

	maxPassword = 72 // bytes: bcrypt ignores the rest
)

// user is a record: see [method.Marshal].
type user struct {
	Hash []byte `json:"hash"` // "$2a$10$..." or "$pbkdf2-sha256$600000$..."
	// CodeRequired is totp_required: without a secret nobody can log in as the user.
	CodeRequired bool  `json:"totp_required,omitempty"`
	TOTP         *totp `json:"totp,omitempty"`
	method.TokenParams
}

// Options configure the backends.
type Options struct {
	method.Options
	Cost int // of bcrypt; 0 means 10
}

// Factory returns the [mount.Factory] of the type "userpass". All its mounts share the bound on
// concurrent hashing, so a program needs one.
func Factory(o Options) mount.Factory {
	if o.Cost == 0 {
		o.Cost = cost
	}
	o.Options = o.WithDefaults()
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	return func(store mount.Storage, _ mount.Entry) (mount.Backend, error) {
		d := &backend{store: store, now: o.Now, rand: o.Rand, cost: o.Cost, slots: slots,
			unknown: fmt.Appendf(nil, "$2a$%02d$%s%s", o.Cost, noSalt, noHash)}
		return d, nil
	}
}

type backend struct {
	store   mount.Storage
	now     func() time.Time
	rand    io.Reader
	cost    int
	slots   chan struct{} // semaphore, held while a password is hashed
	unknown []byte        // the hash that passwords of unknown users are compared with

	writing sync.Mutex
}

// Open implements [mount.UnauthenticatedPaths].
func (d *backend) Open(_ mount.Operation, path string) bool {
	name, ok := strings.CutPrefix(path, "login/")
	return ok && name != ""
}

// Alias implements [mount.AliasLookup] with the user's name.
func (d *backend) Alias(_ context.Context, r *mount.Request) (string, error) {
	name, _ := strings.CutPrefix(r.Path, "login/")
	return strings.ToLower(name), nil
}

// FoldedName implements [mount.NameFolder].
func (d *backend) FoldedName(path string) (start, end int) {
	return method.NameAfter(path, "users/", "login/")
}

// Exists implements [mount.ExistenceChecker].
func (d *backend) Exists(ctx context.Context, path string) (bool, error) {
	name, ok := strings.CutPrefix(path, "users/")
	if !ok || strings.Contains(name, "/") {
		return true, nil
	}
	u, err := method.Load[user](ctx, d.store, userPrefix+strings.ToLower(name))
	return u != nil, err
}

// Handle implements [mount.Backend].
func (d *backend) Handle(ctx context.Context, r *mount.Request) (*mount.Response, error) {
	first, rest, _ := strings.Cut(r.Path, "/")
	switch {
	case first == "login" && rest != "":
		return d.login(ctx, r, rest)
	case first == "users" && rest == "":
		if r.Operation != mount.List {
			return nil, method.ErrUnsupported
		}
		return method.Keys(ctx, d.store, userPrefix)
	case first == "users":
		return d.user(ctx, r, strings.TrimSuffix(rest, "/"))
	}
	return nil, method.ErrNoPath
}

// user handles "users/<name>" and the paths below it.
func (d *backend) user(ctx context.Context, r *mount.Request, rest string) (*mount.Response, error) {
	name, part, _ := strings.Cut(rest, "/")
	name, err := method.Name("username", name)
	if err != nil {
		return nil, err
	}
	switch {
	case part == "totp":
		return d.secondFactor(ctx, r, name)
	case part != "" && part != "password" && part != "policies":
		return nil, method.ErrNoPath
	case method.IsWrite(r.Operation):
		return nil, d.write(ctx, name, part, r.Data)
	case part != "":
		return nil, method.ErrUnsupported
	case r.Operation == mount.Read:
		u, err := method.Load[user](ctx, d.store, userPrefix+name)
		if u == nil {
			return nil, err
		}
		return &mount.Response{Data: u.Show(map[string]any{"totp_required": u.CodeRequired,
			"totp_enrolled": u.TOTP != nil})}, nil
	case r.Operation == mount.Delete:
		d.writing.Lock()
		defer d.writing.Unlock()
		return nil, method.Remove(ctx, d.store, userPrefix+name)
	}
	return nil, method.ErrUnsupported
}

// write creates or changes a user; part limits the change to "password" or "policies".
func (d *backend) write(ctx context.Context, name, part string, f field.Map) error {
	hash, err := d.newHash(ctx, f)
	if err != nil {
		return err
	}
	d.writing.Lock()
	defer d.writing.Unlock()
	u, err := method.Load[user](ctx, d.store, userPrefix+name)
	if err != nil {
		return err
	}
	switch {
	case u == nil && part != "":
		return method.Invalid("username does not exist")
	case hash == nil && (u == nil || part == "password"):
		return method.Invalid("missing password")
	case u == nil:
		u = &user{}
	}
	if hash != nil && part != "policies" {
		u.Hash = hash
	}
	switch part {
	case "":
		err = field.First(u.Read(f), f.Flag("totp_required", &u.CodeRequired))
	case "policies":
		err = u.Read(field.Map{"policies": f["policies"], "token_policies": f["token_policies"]})
	}
	if err != nil {
		return err
	}
	return method.Save(ctx, d.store, userPrefix+name, u)
}

// newHash hashes the password of a request or returns its password_hash; nil if it has neither.
func (d *backend) newHash(ctx context.Context, f field.Map) ([]byte, error) {
	var password, hash string
	if err := field.First(f.Text("password", &password), f.Text("password_hash", &hash)); err != nil {
		return nil, err
	}
	switch {
	case password != "" && hash != "":
		return nil, method.Invalid("give password or password_hash, not both")
	case hash != "":
		if err := fips.Refuse("a password_hash of bcrypt", "password"); err != nil {
			return nil, err
		}
		if c, err := bcrypt.Cost([]byte(hash)); err != nil || c > maxCost || len(hash) > 60 {
			return nil, method.Invalid("password_hash is not a bcrypt hash with a cost of at most %d", maxCost)
		}
		return []byte(hash), nil
	case password == "":
		return nil, nil
	}
	if err := d.acquire(ctx); err != nil {
		return nil, err
	}
	defer d.release()
	if fips.Required() {
		return newPBKDF2(password)
	}
	out, err := bcrypt.GenerateFromPassword([]byte(password), d.cost)
	if errors.Is(err, bcrypt.ErrPasswordTooLong) {
		return nil, method.Invalid("the password has %d bytes; bcrypt uses at most %d; choose a shorter one", len(password),
			maxPassword)
	}
	return out, err
}

func (d *backend) acquire(ctx context.Context) error {
	select {
	case d.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *backend) release() { <-d.slots }

const wrongPassword = "invalid username or password"

var errLogin = fault.Wrap(mount.ErrCredentials, fault.Invalid, wrongPassword)

// login checks a password.
func (d *backend) login(ctx context.Context, r *mount.Request, name string) (*mount.Response, error) {
	if !method.IsWrite(r.Operation) {
		return nil, method.ErrUnsupported
	}
	name, err := method.Name("username", name)
	if err != nil {
		return nil, err
	}
	var password, code string
	f := field.Map(r.Data)
	if err := field.First(f.Text("password", &password), f.Text("otp", &code), f.Text("totp", &code)); err != nil {
		return nil, err
	}
	if password == "" {
		return nil, method.Invalid("missing password")
	}
	u, err := method.Load[user](ctx, d.store, userPrefix+name)
	if err != nil {
		return nil, err
	}
	hash := d.unknown
	if u != nil {
		hash = u.Hash
	}
	if err := d.acquire(ctx); err != nil {
		return nil, err
	}
	defer d.release()
	if !matches(hash, password) || u == nil {
		return nil, errLogin
	}
	if !method.Within(u.BoundCIDRs, r.Remote) {
		return nil, method.ErrOutside
	}
	if u.needsCode() {
		switch err := d.useCode(ctx, name, code); {
		case errors.Is(err, errNoCode), errors.Is(err, errNoSecret), errors.Is(err, errWrongCode):
			return nil, fault.Wrap(fmt.Errorf("%w: %w", mount.ErrCredentials, err), fault.Invalid, wrongPassword)
		case err != nil:
			return nil, err
		}
	}
	return u.Login(name, map[string]string{"username": name}), nil
}
