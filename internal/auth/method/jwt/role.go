package jwt

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/field"
)

// role is a record: see [method.Marshal]. Durations are seconds.
type role struct {
	Audiences    []string            `json:"bound_audiences,omitempty"`
	Subject      string              `json:"bound_subject,omitempty"`
	Claims       map[string][]string `json:"bound_claims,omitempty"`      // any of the values suffices
	Globs        bool                `json:"bound_claims_glob,omitempty"` // the values are patterns
	UserClaim    string              `json:"user_claim"`
	UserPointer  bool                `json:"user_claim_json_pointer,omitempty"`
	Mappings     map[string]string   `json:"claim_mappings,omitempty"` // claim to metadata
	ExpiryLeeway int64               `json:"expiration_leeway,omitempty"`
	BeforeLeeway int64               `json:"not_before_leeway,omitempty"`
	ClockSkew    int64               `json:"clock_skew_leeway,omitempty"`
	Browser      bool                `json:"oidc,omitempty"` // login by browser
	Redirects    []string            `json:"allowed_redirect_uris,omitempty"`
	Scopes       []string            `json:"oidc_scopes,omitempty"`
	MaxAge       int64               `json:"max_age,omitempty"` // since the provider authenticated the user
	method.TokenParams
}

// Leeways used for 0; a negative leeway means none.
const (
	defaultLeeway = 150 * time.Second
	defaultSkew   = 60 * time.Second
)

func leeway(seconds int64, unset time.Duration) time.Duration {
	switch {
	case seconds == 0:
		return unset
	case seconds < 0:
		return 0
	}
	return time.Duration(seconds) * time.Second
}

func (x *role) show() map[string]any {
	claims := map[string]any{}
	for name, values := range x.Claims {
		claims[name] = values
		if len(values) == 1 {
			claims[name] = values[0]
		}
	}
	mappings, kind := x.Mappings, "string"
	if mappings == nil {
		mappings = map[string]string{}
	}
	if x.Globs {
		kind = "glob"
	}
	roleType := "jwt"
	if x.Browser {
		roleType = "oidc"
	}
	return x.Show(map[string]any{
		"role_type": roleType, "allowed_redirect_uris": method.NotNil(x.Redirects), "oidc_scopes": method.NotNil(x.Scopes),
		"max_age": x.MaxAge, "bound_audiences": method.NotNil(x.Audiences), "bound_subject": x.Subject,
		"bound_claims":      claims,
		"bound_claims_type": kind, "user_claim": x.UserClaim, "user_claim_json_pointer": x.UserPointer,
		"claim_mappings":    mappings,
		"expiration_leeway": x.ExpiryLeeway, "not_before_leeway": x.BeforeLeeway, "clock_skew_leeway": x.ClockSkew,
		"groups_claim": "",
	})
}

const maxLeeway = 24 * 60 * 60

func (x *role) read(f field.Map) error {
	kind, groups, claimKind := "", "", ""
	err := field.First(
		f.Text("role_type", &kind), f.Text("groups_claim", &groups), f.Text("bound_claims_type", &claimKind),
		f.Limits("bound_audiences", &x.Audiences), f.Text("bound_subject", &x.Subject), x.readClaims(f),
		f.Text("user_claim", &x.UserClaim),
		f.Flag("user_claim_json_pointer", &x.UserPointer), f.Pairs("claim_mappings", &x.Mappings),
		f.Seconds("expiration_leeway", &x.ExpiryLeeway),
		f.Seconds("not_before_leeway", &x.BeforeLeeway), f.Seconds("clock_skew_leeway", &x.ClockSkew), x.Read(f),
		f.Names("allowed_redirect_uris", &x.Redirects), f.Names("oidc_scopes", &x.Scopes), f.Seconds("max_age", &x.MaxAge),
	)
	if err != nil {
		return err
	}
	switch claimKind {
	case "string", "glob":
		x.Globs = claimKind == "glob"
	case "":
	default:
		return method.Invalid(`invalid 'bound_claims_type': give "string" or "glob"`)
	}
	switch kind {
	case "jwt", "oidc":
		x.Browser = kind == "oidc"
	case "": // Vault's default is "oidc", which needs redirect URIs
		x.Browser = len(x.Redirects) > 0
	default:
		return method.Invalid(`invalid 'role_type': give "jwt" or "oidc"`)
	}
	switch {
	case x.Browser && len(x.Redirects) == 0:
		return method.Invalid("'allowed_redirect_uris' must be set if 'role_type' is 'oidc' or unspecified")
	case x.MaxAge < 0:
		return method.Invalid("max_age must not be negative")
	case groups != "":
		return method.Invalid("groups_claim is not supported, because this server has no groups; bind claims and assign " +
			"policies by role")
	case x.UserClaim == "":
		return method.Invalid("a user claim must be defined on the role")
	case !x.Browser && len(x.Audiences) == 0 && x.Subject == "" && len(x.Claims) == 0 && len(x.BoundCIDRs) == 0:
		return method.Invalid("must have at least one bound constraint when creating/updating a role")
	case max(x.ExpiryLeeway, x.BeforeLeeway, x.ClockSkew) > maxLeeway:
		return method.Invalid("a leeway cannot be longer than 24h")
	}
	seen := map[string]bool{}
	for _, to := range x.Mappings {
		if to == "role" || seen[to] {
			return method.Invalid("claim_mappings: the metadata key %q is reserved or a duplicate", to)
		}
		seen[to] = true
	}
	return nil
}

// readClaims reads bound_claims: an object whose values are texts, numbers, booleans, or lists of
// these.
func (x *role) readClaims(f field.Map) error {
	given := f["bound_claims"]
	if text, ok := given.(string); ok {
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		given = nil
		if err := d.Decode(&given); err != nil {
			return method.Invalid("bound_claims is not a JSON object")
		}
	}
	switch claims := given.(type) {
	case nil:
		return nil
	case map[string]any:
		next := map[string][]string{}
		for name, v := range claims {
			values, ok := texts(v)
			if !ok || len(values) == 0 {
				return method.Invalid("bound_claims: the value of %q must be a text or a list of texts", name)
			}
			next[name] = values
		}
		x.Claims = next
		return nil
	}
	return method.Invalid("bound_claims must be an object")
}

// texts returns the values of a claim or of a bound claim as texts.
func texts(v any) ([]string, bool) {
	switch v := v.(type) {
	case string:
		return []string{v}, true
	case json.Number:
		return []string{v.String()}, true
	case bool:
		return []string{fmt.Sprint(v)}, true
	case []any:
		var out []string
		for _, item := range v {
			_, nested := item.([]any)
			one, ok := texts(item)
			if !ok || nested {
				return nil, false
			}
			out = append(out, one...)
		}
		return out, true
	}
	return nil, false
}

// admit checks the claims of a token with a valid signature.
func (x *role) admit(c *settings, claims map[string]any, now time.Time) error {
	if err := x.inTime(claims, now); err != nil {
		return err
	}
	if c.Issuer != "" && claims["iss"] != c.Issuer {
		return method.Invalid("error validating token: invalid issuer (iss) claim")
	}
	if x.Subject != "" && claims["sub"] != x.Subject {
		return method.Invalid("error validating token: invalid subject (sub) claim")
	}
	audience, ok := texts(claims["aud"])
	switch {
	case !ok && claims["aud"] != nil:
		return method.Invalid("error validating token: invalid audience (aud) claim")
	case len(x.Audiences) == 0 && x.Browser: // checkIDToken checks the audience of an ID token
	case len(x.Audiences) == 0 && len(audience) > 0:
		return method.Invalid("error validating token: audience claim found in JWT but no audiences bound to the role")
	case len(x.Audiences) > 0 && !slices.ContainsFunc(audience, func(a string) bool {
		return slices.Contains(x.Audiences, a)
	}):
		return method.Invalid("error validating token: invalid audience (aud) claim")
	}
	for name, values := range x.Claims {
		v, ok := find(claims, name)
		if !ok || v == nil {
			return method.Invalid("error validating claims: claim %q is missing", name)
		}
		have, fits := texts(v)
		if !fits || !slices.ContainsFunc(have, func(h string) bool { return x.accepts(values, h) }) {
			return method.Invalid("error validating claims: claim %q does not match any associated bound claim values", name)
		}
	}
	return nil
}

func (x *role) accepts(values []string, have string) bool {
	return slices.ContainsFunc(values, func(v string) bool { return v == have || x.Globs && method.Glob(v, have) })
}

// inTime checks a token's times against the clock, with the role's leeways. Missing times are
// derived from the others.
func (x *role) inTime(claims map[string]any, now time.Time) error {
	var times [3]time.Time // iat, nbf, exp
	for i, name := range []string{"iat", "nbf", "exp"} {
		var ok bool
		if times[i], ok = moment(claims[name]); !ok {
			return method.Invalid("error validating token: the claim %q is not a time", name)
		}
	}
	issued, before, expires := times[0], times[1], times[2]
	if issued.IsZero() && before.IsZero() && expires.IsZero() {
		return method.Invalid("error validating token: no issued at (iat), not before (nbf), or expiration time (exp) " +
			"claims in token")
	}
	if before.IsZero() {
		if before = issued; issued.IsZero() {
			before = expires.Add(-leeway(x.BeforeLeeway, defaultLeeway))
		}
	}
	if expires.IsZero() {
		latest := before
		if issued.After(latest) {
			latest = issued
		}
		expires = latest.Add(leeway(x.ExpiryLeeway, defaultLeeway))
	}
	skew := leeway(x.ClockSkew, defaultSkew)
	switch {
	case !now.Before(expires.Add(skew)):
		return method.Invalid("error validating token: token is expired (exp)")
	case now.Add(skew).Before(before):
		return method.Invalid("error validating token: token not valid yet (nbf)")
	case now.Add(skew).Before(issued):
		return method.Invalid("error validating token: token used before issued (iat)")
	}
	return nil
}

// moment parses a NumericDate (RFC 7519, section 2). A missing one is the zero time.
func moment(v any) (time.Time, bool) {
	switch v := v.(type) {
	case nil:
		return time.Time{}, true
	case json.Number:
		f, err := v.Float64()
		if err != nil || math.Abs(f) > 1<<40 {
			return time.Time{}, false
		}
		whole, part := math.Modf(f)
		return time.Unix(int64(whole), int64(part*1e9)), true
	}
	return time.Time{}, false
}

// find returns a claim by name, or by JSON pointer ("/kubernetes.io/namespace", RFC 6901).
func find(claims map[string]any, name string) (any, bool) {
	if !strings.HasPrefix(name, "/") {
		v, ok := claims[name]
		return v, ok
	}
	var at any = claims
	for part := range strings.SplitSeq(name[1:], "/") {
		m, ok := at.(map[string]any)
		if !ok {
			return nil, false
		}
		if at, ok = m[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]; !ok {
			return nil, false
		}
	}
	return at, true
}

// describe returns the subject of the token, and the metadata of the login token.
func (x *role) describe(name string, claims map[string]any) (string, map[string]string, error) {
	v, ok := claims[x.UserClaim]
	if x.UserPointer {
		v, ok = find(claims, x.UserClaim)
	}
	user, text := v.(string)
	if !ok || !text || user == "" || len(user) > 512 {
		return "", nil, method.Invalid("claim %q not found in token, or not a string", x.UserClaim)
	}
	meta := map[string]string{"role": name}
	for claim, to := range x.Mappings {
		v, ok := find(claims, claim)
		if !ok || v == nil { // a null claim is as good as none
			continue
		}
		values, fits := texts(v)
		if !fits {
			return "", nil, method.Invalid("error converting claim %q to a string", claim)
		}
		meta[to] = strings.Join(values, ",")
	}
	return user, meta, nil
}
