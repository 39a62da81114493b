package userpass

import (
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // the default of RFC 6238, which most apps have alone
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/fips"
	"github.com/sealgate/sealgate/internal/mount"
)

// Codes are those of RFC 6238 with what apps take for granted.
const (
	digits = 6
	step   = 30 * time.Second
	drift  = 1 // steps that a clock may be off, each way
)

// totp is the second factor of a user, in the user's record.
type totp struct {
	Secret    []byte `json:"secret"`
	Algorithm string `json:"algorithm"`           // "SHA1", "SHA256" or "SHA512"
	Last      uint64 `json:"last_step,omitempty"` // of the newest code that was used: each code counts once
}

var algorithms = map[string]func() hash.Hash{"SHA1": sha1.New, "SHA256": sha256.New, "SHA512": sha512.New}

// code is the code of a step: RFC 4226, section 5.3.
func (s *totp) code(at uint64) string {
	mac := hmac.New(algorithms[s.Algorithm], s.Secret)
	mac.Write(binary.BigEndian.AppendUint64(nil, at))
	sum := mac.Sum(nil)
	n := binary.BigEndian.Uint32(sum[sum[len(sum)-1]&15:]) & 0x7fffffff
	return fmt.Sprintf("%0*d", digits, n%1e6)
}

// find returns the step of a code that is valid now and newer than all that were used.
func (s *totp) find(code string, now time.Time) (uint64, bool) {
	current := uint64(now.Unix()) / uint64(step/time.Second)
	found, ok := uint64(0), false
	for at := current - drift; at <= current+drift; at++ {
		if subtle.ConstantTimeCompare([]byte(s.code(at)), []byte(code)) == 1 && at > s.Last {
			found, ok = at, true
		}
	}
	return found, ok
}

// needsCode reports whether a login needs a code: a secret counts although the flag was lifted, so
// that the factor goes only with its secret.
func (u *user) needsCode() bool { return u.CodeRequired || u.TOTP != nil }

var (
	errNoCode    = errors.New("the user has a second factor, and the login gave no code (totp)")
	errNoSecret  = errors.New("totp_required is set, and the user is not enrolled: write users/NAME/totp")
	errWrongCode = errors.New("the code is wrong, too old, or was used before")
)

// useCode returns why a code is refused, nil if it is right. The code is recorded as used before
// the login succeeds: of two logins with one code, one succeeds.
func (d *backend) useCode(ctx context.Context, name, code string) error {
	if code == "" {
		return errNoCode
	}
	d.writing.Lock()
	defer d.writing.Unlock()
	u, err := method.Load[user](ctx, d.store, userPrefix+name)
	switch {
	case err != nil:
		return err
	case u == nil || u.TOTP == nil:
		return errNoSecret
	}
	at, ok := u.TOTP.find(code, d.now())
	if !ok {
		return errWrongCode
	}
	u.TOTP.Last = at
	return method.Save(ctx, d.store, userPrefix+name, u)
}

// secondFactor handles "users/<name>/totp": a write enrols the user with a new secret, which is
// returned once.
func (d *backend) secondFactor(ctx context.Context, r *mount.Request, name string) (*mount.Response, error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	u, err := method.Load[user](ctx, d.store, userPrefix+name)
	if err != nil {
		return nil, err
	}
	switch {
	case u == nil && r.Operation == mount.Read:
		return nil, nil
	case u == nil:
		return nil, method.Invalid("username does not exist")
	case r.Operation == mount.Read:
		data := map[string]any{"enrolled": u.TOTP != nil, "totp_required": u.CodeRequired}
		if u.TOTP != nil {
			data["algorithm"], data["digits"], data["period"] = u.TOTP.Algorithm, digits, int(step/time.Second)
		}
		return &mount.Response{Data: data}, nil
	case r.Operation == mount.Delete:
		u.TOTP = nil
		return nil, method.Save(ctx, d.store, userPrefix+name, u)
	case !method.IsWrite(r.Operation):
		return nil, method.ErrUnsupported
	}
	return d.enrol(ctx, name, u, r.Data)
}

func (d *backend) enrol(ctx context.Context, name string, u *user, f field.Map) (*mount.Response, error) {
	algorithm, issuer := "SHA1", "Sealgate"
	if fips.Required() {
		algorithm = "SHA256"
	}
	if err := field.First(f.Text("algorithm", &algorithm), f.Text("issuer", &issuer)); err != nil {
		return nil, err
	}
	algorithm = strings.ToUpper(algorithm)
	if algorithms[algorithm] == nil || algorithm == "SHA1" && fips.Required() {
		return nil, method.Invalid("the algorithm is SHA1, SHA256 or SHA512 (not SHA1 where FIPS 140-3 is required)")
	}
	if issuer == "" || len(issuer) > 100 || strings.ContainsAny(issuer, ":\r\n") {
		return nil, method.Invalid("the issuer has 1 to 100 characters without a colon or a line break")
	}
	s := &totp{Algorithm: algorithm, Secret: make([]byte, algorithms[algorithm]().Size())}
	if _, err := io.ReadFull(d.rand, s.Secret); err != nil {
		return nil, err
	}
	u.TOTP = s
	if err := method.Save(ctx, d.store, userPrefix+name, u); err != nil {
		return nil, err
	}
	secret := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(s.Secret)
	at := url.URL{Scheme: "otpauth", Host: "totp", Path: "/" + issuer + ":" + name, RawQuery: url.Values{
		"secret": {secret}, "issuer": {issuer}, "algorithm": {algorithm}, "digits": {"6"}, "period": {"30"}}.Encode()}
	return &mount.Response{Data: map[string]any{"url": at.String()}}, nil
}
