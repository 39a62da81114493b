// Package transit is Vault's transit engine: encryption, signatures and MACs as a service, with
// keys that stay here.
//
// It guarantees OpenBao's requests, answers and texts, with these differences: a caller's mistake
// is 400 where OpenBao answers 500; numbers may be written as strings in batches too; rewrap takes
// associated_data; padding_scheme and signature_context are honoured; Ed25519 with prehashed and
// sha2-512 is Ed25519ph (RFC 8032), as in Vault; the ciphertext of a convergent key depends on
// associated_data as a whole, so one that OpenBao made with it is decrypted and not made again; and
// aesNNN-cmac and ml-dsa keys exist. What a key can do is decided by the provider of its version
// (package keys): nothing is done in software for a key in a device.
//
// It does not guarantee that a version's use is counted to the last one, see [keys.Store]. A
// ciphertext, a signature or a MAC names its version in clear.
//
// Stays compatible: the formats of ciphertexts, signatures, MACs, wrapped keys and backups, which
// are Vault's; the record at "config", whose first byte is its version.
package transit

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/mount"
)

// Options are the dependencies of a backend.
type Options struct {
	Now     func() time.Time // nil means time.Now
	Rand    io.Reader        // nil means crypto/rand
	Devices *device.Registry // where keys in devices come from; nil: there are none
}

// optionEmptyConfig is an option of a mount. With "true", keys/<name>/config answers 204 without a
// body, as old Vaults did: Ceph RGW takes another answer for a failure, and keeps the keys of
// buckets that were deleted.
const optionEmptyConfig = "empty_config_answer"

// New is the [mount.Factory] of the type "transit".
func New(store mount.Storage, m mount.Entry) (mount.Backend, error) {
	return Factory(Options{})(store, m)
}

// Factory returns the [mount.Factory] of the type "transit" with a clock, randomness and providers
// of one's own.
func Factory(o Options) mount.Factory {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Rand = cmp.Or[io.Reader](o.Rand, rand.Reader)
	return func(store mount.Storage, m mount.Entry) (mount.Backend, error) {
		providers := map[string]keys.Provider{keys.Software: keys.NewSoftware(o.Rand)}
		var devices *device.Mount
		if o.Devices != nil {
			devices = o.Devices.For(m.Path, m.UUID, m.Config.AllowedManagedKeys)
			maps.Copy(providers, devices.Providers())
		}
		return &backend{
			keys:  keys.NewStore(store, keys.Options{Providers: providers, Rand: o.Rand, Now: o.Now}),
			store: store, now: o.Now, rand: o.Rand, devices: devices, emptyConfig: m.Options[optionEmptyConfig] == "true",
		}, nil
	}
}

var _ keys.Opener = (*backend)(nil)

type backend struct {
	keys  *keys.Store
	store mount.Storage
	now   func() time.Time
	rand  io.Reader

	emptyConfig bool // see optionEmptyConfig

	devices *device.Mount // nil: none
	swept   atomic.Int64  // when keys in devices that no version has were looked for

	settings   atomic.Pointer[settings] // nil: not read yet
	settingsMu sync.Mutex               // held while they are read or written
	drops      atomic.Uint64            // how often another node changed them

	schedule rotations
}

// call is one request.
type call struct {
	*mount.Request
	write bool
	segs  [5]string // of the path behind the endpoint's name
	n     int
	data  fields

	opened        keys.Encrypter // of a version of a key; nil: none yet
	openedVersion int
	openedKey     *keys.Key

	// Room for a small text in clear and encrypted, and for the answer: a request costs one allocation
	// for all of them.
	plain, blob [256]byte
	response    mount.Response
}

// answer gives the response its data.
func (c *call) answer(data any) *mount.Response {
	c.response.Data = data
	return &c.response
}

type handler func(b *backend, ctx context.Context, c *call) (*mount.Response, error)

// endpoint describes the operations on one kind of path. The fields are those of a write.
type endpoint struct {
	least, most                int // segments behind the name
	read, list, update, remove handler
	fields                     []string
}

var cipherFields = []string{
	"associated_data", "batch_input", "context", "key_version", "padding_scheme",
	"partial_failure_response_code",
}

func with(base []string, more ...string) []string { return slices.Concat(base, more) }

var signFields = []string{
	"algorithm", "batch_input", "context", "hash_algorithm", "input", "key_version",
	"marshaling_algorithm", "prehashed", "salt_length", "signature_algorithm", "signature_context",
}

var importFields = []string{
	"allow_plaintext_backup", "allow_rotation", "auto_rotate_period", "ciphertext", "context", "derived",
	"exportable", "hash_function", "key_size", "parameter_set", "public_key", "type",
}

var deriveFields = []string{
	"base_key_name", "base_key_version", "derived_key_type", "key_derivation_algorithm", "peer_public_key",
}

// endpoints are found by the first segment of the path, keyEndpoints by the third of
// "keys/<name>/...".
var endpoints, keyEndpoints map[string]*endpoint

func init() { // the handlers refer to the tables
	endpoints = map[string]*endpoint{
		"encrypt": writes((*backend).encrypt, 1, 1, with(cipherFields, "convergent_encryption", "plaintext", "type")),
		"decrypt": writes((*backend).decrypt, 1, 1, with(cipherFields, "ciphertext")),
		"rewrap": writes((*backend).rewrap, 1, 1,
			with(cipherFields, "ciphertext", "decrypt_padding_scheme", "encrypt_padding_scheme")),
		"datakey":  writes((*backend).dataKey, 2, 2, with(cipherFields, "bits")),
		"datakeys": writes(dataKeys, 2, 2, with(cipherFields, "bits", "count")),
		"sign":     writes((*backend).sign, 1, 2, signFields),
		"verify":   writes((*backend).verify, 1, 2, with(signFields, "cmac", "hmac", "mac_length", "signature")),
		"hmac":     writes((*backend).hmac, 1, 2, []string{"algorithm", "batch_input", "input", "key_version"}),
		"cmac":     writes((*backend).cmac, 1, 2, []string{"batch_input", "input", "key_version", "mac_length"}),
		"random":   writes((*backend).random, 0, 2, []string{"bytes", "format", "source"}),
		"hash":     writes((*backend).hash, 0, 1, []string{"algorithm", "format", "input"}),

		"keys": {
			least: 1, most: 1, read: readKey, list: listKeys, update: createKey,
			remove: deleteKey, fields: with(createFields, slices.Concat(deviceFields, rootedFields)...),
		},
		"export":       {least: 2, most: 3, read: export},
		"byok-export":  {least: 2, most: 3, read: byokExport},
		"backup":       {least: 1, most: 1, read: backup},
		"restore":      writes(restore, 0, 5, []string{"backup", "force"}),
		"wrapping_key": {read: wrappingKey},
		"derive-key":   writes(deriveKey, 1, 1, deriveFields),
		"cache-config": {read: readCache, update: writeCache, fields: []string{"size"}},
		"config": {
			least: 1, most: 1, read: readConfig, update: writeConfig,
			fields: []string{"disable_upsert", "version_use_window"},
		},
	}
	keyEndpoints = map[string]*endpoint{
		"config":              {update: configureKey, fields: configFields},
		"rotate":              {update: (*backend).rotate, fields: deviceFields},
		"trim":                {update: trim, fields: []string{"destroy_in_device", "force", "min_available_version"}},
		"soft-delete":         {remove: softDelete},
		"soft-delete-restore": {update: softRestore},
		"import":              {update: importKey, fields: with(importFields, deviceFields...)},
		"import_version": {
			update: importVersion,
			fields: []string{"ciphertext", "hash_function", "public_key", "version"},
		},
		"csr":             {update: csr, fields: []string{"csr", "version"}},
		"set-certificate": {update: setCertificate, fields: []string{"certificate_chain", "version"}},
		"use":             {read: readUse},
	}
}

// writes is an endpoint of writes alone.
func writes(h handler, least, most int, fields []string) *endpoint {
	return &endpoint{least: least, most: most, update: h, fields: fields}
}

var (
	errNoPath      = fault.New(fault.NotFound, "1 error occurred:\n\t* unsupported path\n\n")
	errUnsupported = fault.New(fault.Unsupported, "1 error occurred:\n\t* unsupported operation\n\n")
)

// Handle finds the endpoint.
func (b *backend) Handle(ctx context.Context, r *mount.Request) (*mount.Response, error) {
	c := &call{Request: r, data: r.Data}
	first, rest, _ := strings.Cut(r.Path, "/")
	for rest != "" {
		var seg string
		if seg, rest, _ = strings.Cut(rest, "/"); seg == "" { // doubled slashes mean nothing
			continue
		}
		if c.n == len(c.segs) {
			return nil, errNoPath
		}
		c.segs[c.n] = seg
		c.n++
	}
	e := endpoints[first]
	if first == "keys" && c.n >= 2 {
		e = keyEndpoints[c.segs[1]]
		if c.n > 2 || !validName(c.segs[0]) {
			e = nil
		}
	} else if e != nil && !e.fits(c) {
		e = nil
	}
	if e == nil {
		return nil, errNoPath
	}
	var h handler
	switch r.Operation {
	case mount.Read:
		h = e.read
	case mount.List:
		h = e.list
	case mount.Create, mount.Update:
		h, c.write = e.update, true
	case mount.Delete:
		h = e.remove
	}
	if h == nil {
		return nil, errUnsupported
	}
	a, err := h(b, ctx, c)
	if err == nil && c.write {
		a = c.warn(a, e)
	}
	return a, err
}

// fits checks the number of segments; a list of keys has none.
func (e *endpoint) fits(c *call) bool {
	if c.Operation == mount.List {
		return e.list != nil && c.n <= 1
	}
	return c.n >= e.least && c.n <= e.most
}

// warn names fields that have no meaning here.
func (c *call) warn(a *mount.Response, e *endpoint) *mount.Response {
	var unknown []string
	replaced := false
	for name := range c.data {
		switch {
		case name == "name" && e != endpoints["random"]:
			replaced = true
		case !slices.Contains(e.fields, name):
			unknown = append(unknown, name)
		}
	}
	if a == nil || unknown == nil && !replaced {
		return a
	}
	if unknown != nil {
		slices.Sort(unknown)
		a.Warnings = append(a.Warnings, fmt.Sprintf("Endpoint ignored these unrecognized parameters: %v", unknown))
	}
	if replaced {
		a.Warnings = append(a.Warnings, "Endpoint replaced the value of these parameters with the values captured from the "+
			"endpoint's path: [name]")
	}
	return a
}

// Exists makes the first write to a key, and the encryption that makes one, a create.
func (b *backend) Exists(ctx context.Context, path string) (bool, error) {
	first, rest, _ := strings.Cut(path, "/")
	name := strings.Trim(rest, "/")
	if first != "encrypt" && first != "keys" || !validName(name) {
		return true, nil
	}
	_, err := b.keys.Get(ctx, name)
	switch {
	case errors.Is(err, keys.ErrNotFound):
		return false, nil
	case fault.Is(err, fault.Internal) && errors.Is(err, keys.ErrRecord):
		return true, nil // a damaged key is there
	}
	return true, err
}

// validName is OpenBao's rule for the names of keys: letters, digits, "_", and inside "-" and ".".
func validName(s string) bool {
	for i := range len(s) {
		c := s[i]
		word := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
		inside := i > 0 && i < len(s)-1 && (c == '-' || c == '.')
		if !word && !inside {
			return false
		}
	}
	return s != ""
}

// name checks the key's name, which is the given segment.
func (c *call) name(i int) (string, error) {
	if !validName(c.segs[i]) {
		return "", errNoPath
	}
	return c.segs[i], nil
}

// use finds a key that is to be used; absent is the error where there is none.
func (b *backend) use(ctx context.Context, c *call, segment int, absent error) (*keys.Key, error) {
	name, err := c.name(segment)
	if err != nil {
		return nil, err
	}
	k, err := b.keys.Get(ctx, name)
	switch {
	case errors.Is(err, keys.ErrNotFound) && absent != nil:
		return nil, absent
	case err != nil:
		return nil, err
	case k.SoftDeleted:
		return nil, keys.ErrSoftDeleted
	}
	return k, nil
}

// by is who is counted as the user of a key version.
func (c *call) by() string { return c.Identity.DisplayName }
