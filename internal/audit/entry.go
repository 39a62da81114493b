package audit

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"
)

// Auth is the client, or, in a response, the subject of a new token.
type Auth struct {
	Token, Accessor string // hashed
	DisplayName     string
	Policies        []string
	TokenPolicies   []string
	Metadata        map[string]string
	NoDefault       bool
	EntityID        string
	TokenType       string // "service", "batch"; "" is written as "default"
	TTL             time.Duration
	Issued          time.Time // zero: omitted
	RemainingUses   int
	NumUses         int
	Results         *PolicyResults // nil: omitted
}

// PolicyResults is the result of the policy check.
type PolicyResults struct {
	Allowed  bool
	Granting []string // names of the policies that allowed it; "" for the built-in default
}

// Mount is the mount that handled a request.
type Mount struct {
	Point, Type, Accessor, Version string
	Class                          string // "secret", "auth"
}

// Request is the content of a request entry.
type Request struct {
	ID            string
	ClientID      string
	Operation     string
	Mount         *Mount // nil: none
	Token         string // as sent, valid or not; hashed
	Accessor      string // hashed
	Path          string
	Data          json.RawMessage // nil: none; strings are hashed
	Plain         []string        // keys whose strings in Data are not
	WrapTTL       time.Duration
	Headers       map[string][]string // those that [Trail.Headers] names, in lower case
	Certificate   string              // serial number of the client's
	RemoteAddress string
	RemotePort    int
	// Guarded says that the data of the request or response contains tokens, shares or keys, which
	// log_raw does not show.
	Guarded bool

	URI           string // as received, without the query, if it differs from Path
	ForwardedFrom string // the node that received and forwarded it, host:port; "": this one
}

// Response is the content of a response entry.
type Response struct {
	Data     json.RawMessage // nil: none; strings are hashed
	Plain    []string        // keys whose strings in Data are not
	Listing  bool            // a list response, which elide_list_responses shortens
	Auth     *Auth
	Wrap     *WrapInfo
	LeaseID  string
	Warnings []string
	Headers  map[string][]string
	Share    *Share // extension: whose share was submitted

	// Transcript is the head of the ceremony transcript after the request; "" where it is none of a
	// ceremony.
	Transcript string
}

// WrapInfo describes the wrapping token of a response.
type WrapInfo struct {
	Token, Accessor string // hashed
	TTL             time.Duration
	Created         time.Time
	Path            string
	WrappedAccessor string // hashed
}

// Share identifies a submitted share, without its value.
type Share struct {
	Target string // "barrier", "recovery"
	Number int
	Holder string // "" if holders have no names
}

// formatter writes entries for one device.
type formatter struct {
	settings
	hash *hasher // nil while sealed: texts are withheld
	memo *memo   // nil: none
}

// memo caches the hashes within one entry, in which a token and its accessor appear twice.
type memo struct {
	texts  [2]string
	hashes [2][hashLen]byte // with quotes
	n      int
}

const hashLen = 2 + len(hashPrefix) + 2*sha256.Size

// withheld replaces a text while there is no salt to hash it with.
const withheld = "[withheld: sealed]"

// hashed appends a hashed token or accessor.
func (f *formatter) hashed(dst []byte, text string) []byte {
	if f.hash == nil {
		return appendString(dst, withheld)
	}
	m := f.memo
	if m == nil {
		return append(appendHash(f.hash, append(dst, '"'), text), '"')
	}
	for i := range m.n {
		if m.texts[i] == text {
			return append(dst, m.hashes[i][:]...)
		}
	}
	mark := len(dst)
	dst = append(appendHash(f.hash, append(dst, '"'), text), '"')
	if m.n < len(m.texts) {
		m.texts[m.n] = text
		copy(m.hashes[m.n][:], dst[mark:])
		m.n++
	}
	return dst
}

// member appends the key of the next member.
func member(dst []byte, key string) []byte {
	if last := dst[len(dst)-1]; last != '{' {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, key...)
	return append(dst, '"', ':')
}

// text appends a member unless the value is empty.
func text(dst []byte, key, value string) []byte {
	if value == "" {
		return dst
	}
	return appendString(member(dst, key), value)
}

func number(dst []byte, key string, n int64) []byte {
	if n == 0 {
		return dst
	}
	return strconv.AppendInt(member(dst, key), n, 10)
}

func list(dst []byte, key string, values []string) []byte {
	if len(values) == 0 {
		return dst
	}
	dst = append(member(dst, key), '[')
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, v)
	}
	return append(dst, ']')
}

func (f *formatter) secret(dst []byte, key, value string) []byte {
	if value == "" {
		return dst
	}
	return f.hashed(member(dst, key), value)
}

// accessor appends an accessor, which the device hashes or shows.
func (f *formatter) accessor(dst []byte, key, value string) []byte {
	if !f.hmacAccessor || f.raw {
		return text(dst, key, value)
	}
	return f.secret(dst, key, value)
}

// data appends JSON, with its strings hashed or not.
func (f *formatter) data(dst []byte, key string, data json.RawMessage, plain []string, guarded, elide bool) ([]byte,
	error) {
	if data == nil {
		return dst, nil
	}
	r := redactor{src: data, dst: member(dst, key), plain: plain, elide: elide, guarded: guarded}
	show := f.raw && !guarded
	r.value = func(dst, quoted []byte, plain bool) ([]byte, error) {
		if !show && !plain && f.hash == nil {
			return appendString(dst, withheld), nil
		}
		value, err := unquote(quoted)
		switch {
		case err != nil:
			return nil, err
		case show || plain:
			return appendString(dst, value), nil
		}
		return append(appendHash(f.hash, append(dst, '"'), value), '"'), nil
	}
	return r.run()
}

func headers(dst []byte, all map[string][]string, value func(dst []byte, name, v string) []byte) []byte {
	if len(all) == 0 {
		return dst
	}
	dst = append(member(dst, "headers"), '{')
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		dst = append(appendKey(dst, name), '[')
		for i, v := range all[name] {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = value(dst, name, v)
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// appendKey appends a key that may contain any characters.
func appendKey(dst []byte, key string) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	return append(appendString(dst, key), ':')
}

var errNoRoom = errors.New("audit: the entry exceeds the maximum size")

// maxEntry bounds one entry.
const maxEntry = 1 << 30

// auth appends the client.
func (f *formatter) auth(dst []byte, a *Auth) []byte {
	dst = append(member(dst, "auth"), '{')
	if a == nil {
		return append(text(dst, "token_type", "default"), '}')
	}
	dst = f.secret(dst, "client_token", a.Token)
	dst = f.accessor(dst, "accessor", a.Accessor)
	dst = text(dst, "display_name", a.DisplayName)
	dst = list(dst, "policies", a.Policies)
	dst = list(dst, "token_policies", a.TokenPolicies)
	if a.NoDefault {
		dst = append(member(dst, "no_default_policy"), "true"...)
	}
	if r := a.Results; r != nil {
		dst = policyResults(dst, r)
	}
	if len(a.Metadata) > 0 {
		dst = append(member(dst, "metadata"), '{')
		for _, key := range sortedKeys(a.Metadata) {
			dst = appendString(appendKey(dst, key), a.Metadata[key])
		}
		dst = append(dst, '}')
	}
	dst = text(dst, "entity_id", a.EntityID)
	dst = number(dst, "num_uses", int64(a.NumUses))
	dst = number(dst, "remaining_uses", int64(a.RemainingUses))
	kind := a.TokenType
	if kind == "" {
		kind = "default"
	}
	dst = text(dst, "token_type", kind)
	dst = number(dst, "token_ttl", int64(a.TTL/time.Second))
	if !a.Issued.IsZero() {
		dst = moment(member(dst, "token_issue_time"), a.Issued, time.RFC3339)
	}
	return append(dst, '}')
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func policyResults(dst []byte, r *PolicyResults) []byte {
	dst = strconv.AppendBool(append(member(dst, "policy_results"), `{"allowed":`...), r.Allowed)
	if len(r.Granting) > 0 {
		dst = append(dst, `,"granting_policies":[`...)
		for i, name := range r.Granting {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, '{')
			if name != "" {
				dst = text(dst, "name", name)
				dst = text(dst, "namespace_id", "root")
			}
			dst = append(text(dst, "type", "acl"), '}')
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

func moment(dst []byte, t time.Time, layout string) []byte {
	return append(t.UTC().AppendFormat(append(dst, '"'), layout), '"')
}

// request appends the request.
func (f *formatter) request(dst []byte, r *Request, shown []header) ([]byte, error) {
	dst = append(member(dst, "request"), '{')
	dst = text(dst, "id", r.ID)
	dst = text(dst, "client_id", r.ClientID)
	dst = text(dst, "operation", r.Operation)
	dst = mount(dst, r.Mount, "mount_running_version")
	dst = f.secret(dst, "client_token", r.Token)
	dst = f.accessor(dst, "client_token_accessor", r.Accessor)
	dst = append(member(dst, "namespace"), `{"id":"root"}`...)
	dst = text(dst, "path", r.Path)
	mark := len(dst)
	dst, err := f.data(dst, "data", r.Data, r.Plain, r.Guarded, false)
	if err != nil {
		return nil, err
	}
	if len(dst)-mark > maxEntry {
		return nil, errNoRoom
	}
	dst = number(dst, "wrap_ttl", int64(r.WrapTTL/time.Second))
	dst = headers(dst, r.Headers, func(dst []byte, name, v string) []byte {
		i := slices.IndexFunc(shown, func(h header) bool { return h.Name == name })
		if i >= 0 && !shown[i].HMAC {
			return appendString(dst, v)
		}
		return f.hashed(dst, v)
	})
	dst = text(dst, "client_certificate_serial_number", r.Certificate)
	dst = text(dst, "remote_address", r.RemoteAddress)
	dst = number(dst, "remote_port", int64(r.RemotePort))
	dst = text(dst, "request_uri", r.URI)
	return append(dst, '}'), nil
}

// mount appends the mount. The key of its version differs between request and response.
func mount(dst []byte, m *Mount, version string) []byte {
	if m == nil {
		return dst
	}
	dst = text(dst, "mount_point", m.Point)
	dst = text(dst, "mount_type", m.Type)
	dst = text(dst, "mount_accessor", m.Accessor)
	dst = text(dst, version, m.Version)
	return text(dst, "mount_class", m.Class)
}

// response appends the response.
func (f *formatter) response(dst []byte, r *Response, q *Request) ([]byte, error) {
	dst = append(member(dst, "response"), '{')
	if r.Auth != nil {
		dst = f.auth(dst, r.Auth)
	}
	if r.LeaseID != "" {
		dst = append(text(append(member(dst, "secret"), '{'), "lease_id", r.LeaseID), '}')
	}
	dst = mount(dst, q.Mount, "mount_running_plugin_version")
	dst, err := f.data(dst, "data", r.Data, r.Plain, q.Guarded, f.elide && r.Listing)
	if err != nil {
		return nil, err
	}
	dst = list(dst, "warnings", r.Warnings)
	if w := r.Wrap; w != nil {
		dst = append(member(dst, "wrap_info"), '{')
		dst = number(dst, "ttl", int64(w.TTL/time.Second))
		dst = f.secret(dst, "token", w.Token)
		dst = f.accessor(dst, "accessor", w.Accessor)
		dst = moment(member(dst, "creation_time"), w.Created, time.RFC3339Nano)
		dst = text(dst, "creation_path", w.Path)
		dst = append(f.accessor(dst, "wrapped_accessor", w.WrappedAccessor), '}')
	}
	dst = headers(dst, r.Headers, func(dst []byte, _, v string) []byte { return appendString(dst, v) })
	if s := r.Share; s != nil {
		dst = text(append(member(dst, "share"), '{'), "target", s.Target)
		dst = append(text(number(dst, "number", int64(s.Number)), "holder", s.Holder), '}')
	}
	if r.Transcript != "" {
		dst = text(dst, "transcript_head", r.Transcript)
	}
	return append(dst, '}'), nil
}
