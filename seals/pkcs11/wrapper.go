package pkcs11

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/internal/fips"
	"github.com/sealgate/sealgate/seals"
)

// Wrapper is the seal. It is safe for concurrent use.
type Wrapper struct {
	name     string
	log      *slog.Logger
	token    *hsm.Token
	keys     *keySet
	settings settings
	reached  atomic.Bool // a call has succeeded
	origin   sync.Once   // logs that generate_key found a key
}

var (
	_ wrapping.Wrapper = (*Wrapper)(nil)
	_ seals.Factory    = New
	_ seals.Closer     = (*Wrapper)(nil)
	_ seals.Successor  = (*Wrapper)(nil)
	_ seals.Bounded    = (*Wrapper)(nil)
	_ seals.Describer  = (*Wrapper)(nil)
	_ seals.Limiter    = (*Wrapper)(nil)
)

// New parses a stanza:
//
//	lib (module)                    path of the PKCS#11 library; required
//	token_label (token)             the token: one of these is required, and all must match
//	token_serial, slot
//	pin                             the user PIN; env://NAME or file://PATH keep it out of the stanza
//	key_label (label), key_id       the key: one is required; the id in hexadecimal. Without key_id
//	                                the seal's key can be replaced by one with the same label
//	mechanism                       CKM_AES_GCM, CKM_AES_CBC_PAD, CKM_RSA_PKCS_OAEP;
//	                                default: one that works with the key
//	hmac_key_label, hmac_key_id     the key that authenticates for CKM_AES_CBC_PAD and
//	                                CKM_RSA_PKCS_OAEP
//	accept_unauthenticated          RSA: decrypt what was made before there was an HMAC key
//	hmac_mechanism                  default: CKM_SHA256_HMAC
//	rsa_oaep_hash                   sha256, ...; default: the first that the token has, but for sha1
//	require_nonextractable          refuse a key that can leave the token
//	disable_software_encryption     RSA: the token also encrypts, with its public key object
//	generate_key                    make missing keys at the first encryption; the log and the seal's
//	                                details say where the key that was found is from
//	max_parallel                    the most sessions; default: 8
//	timeout                         of each call; default: 10s
//	isolation                       process: the library runs in a child process; none: in this one
//	network                         false: the child process has no Internet sockets
//	allow_paths                     the only folders in which the child process writes
//	pin_final_try                   send the PIN even if the token has a single try left
//
// An error is a mistake in the stanza. New does not load the library.
func New(cfg seals.Config) (wrapping.Wrapper, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s, err := parse(cfg)
	if err != nil {
		return nil, seals.ConfigError("pkcs11", cfg.Name, err)
	}
	defer s.token.PIN.Destroy() // hsm.New keeps a copy
	if s.token.Isolation == hsm.InProcess {
		cfg.Log.Warn("the HSM library runs inside this process, because isolation = \"none\"", "seal", cfg.Name)
	}
	token, err := hsm.New(s.token)
	if err != nil {
		return nil, seals.ConfigError("pkcs11", cfg.Name, err)
	}
	keys, err := newKeySet(token, s.key)
	if err != nil {
		return nil, seals.ConfigError("pkcs11", cfg.Name, errors.Join(err, token.Close()))
	}
	s.token.PIN = nil
	return &Wrapper{name: cfg.Name, log: cfg.Log, token: token, keys: keys, settings: s}, nil
}

// Succeed takes over a refused PIN's state from the wrapper that this one replaces, so that a
// reload does not send it again.
func (w *Wrapper) Succeed(old wrapping.Wrapper) {
	if o, ok := old.(*Wrapper); ok {
		w.token.Succeed(o.token)
	}
}

// WrapsPublicly implements [seals.PublicWrapper]: with CKM_RSA_PKCS_OAEP the public half wraps.
// Without a configured mechanism it is known after the first use of the key.
func (w *Wrapper) WrapsPublicly() string {
	s := w.settings.key
	mechanism := s.Mechanism
	if info, known := w.keys.seen(); known {
		mechanism = info.Mechanism
	}
	switch {
	case mechanism != hsm.RSAOAEP:
		return ""
	case s.HMACLabel == "" && s.HMACID == nil:
		return "set hmac_key_label or hmac_key_id to an HMAC key on the same token, which authenticates the sealed " +
			"record, or use an AES key with CKM_AES_GCM"
	case s.AllowNoMAC:
		return "rotate the root key (sealgate write -f sys/rotate/root), then remove accept_unauthenticated"
	}
	return ""
}

// Timeout returns the deadline of every call.
func (w *Wrapper) Timeout() time.Duration {
	return cmp.Or(w.settings.token.Deadline, hsm.DefaultDeadline)
}

// firstContact is the default deadline until the HSM has answered once: an operator who initialises
// or starts a server with an HSM that hangs learns it soon. A configured timeout takes its place.
const firstContact = 3500 * time.Millisecond

// within sets one deadline for all HSM calls of an operation.
func (w *Wrapper) within(ctx context.Context) (context.Context, context.CancelFunc) {
	d := w.Timeout()
	if w.settings.token.Deadline == 0 && !w.reached.Load() {
		d = min(d, firstContact)
	}
	return context.WithTimeoutCause(ctx, d, hsm.ErrDeadline)
}

// Type returns "pkcs11".
func (w *Wrapper) Type(context.Context) (wrapping.WrapperType, error) {
	return wrapping.WrapperTypePkcs11, nil
}

// KeyId returns the key's canonical name: an RFC 7512 URI of the token's serial number and the
// key's label and id.
func (w *Wrapper) KeyId(ctx context.Context) (string, error) {
	ctx, cancel := w.within(ctx)
	defer cancel()
	var info hsm.KeyInfo
	err := w.with(func(key *hsm.Key) (err error) {
		info, err = key.Describe(ctx)
		return err
	})
	if err != nil {
		return "", w.failure(err)
	}
	w.reached.Store(true)
	return info.URI, nil
}

// Describe reports how the token protects the key.
func (w *Wrapper) Describe(ctx context.Context) (seals.KeyState, error) {
	ctx, cancel := w.within(ctx)
	defer cancel()
	// A hang here must not delay the proof that reports it.
	ctx, cancelSoon := context.WithTimeoutCause(ctx, time.Second, hsm.ErrDeadline)
	defer cancelSoon()
	var info hsm.KeyInfo
	err := w.with(func(key *hsm.Key) (err error) {
		info, err = key.Describe(ctx)
		return err
	})
	switch {
	case errors.Is(err, hsm.ErrKeyUse):
		return seals.KeyState{State: "disabled"}, nil
	case err != nil:
		return seals.KeyState{}, w.failure(err)
	}
	detail := map[string]string{"mechanism": hsm.MechanismName(info.Mechanism)}
	for name, v := range map[string]*bool{
		"CKA_SENSITIVE": info.Protection.Sensitive, "CKA_EXTRACTABLE": info.Protection.Extractable,
		"CKA_LOCAL": info.Protection.Local,
	} {
		if detail[name] = "not reported"; v != nil {
			detail[name] = strconv.FormatBool(*v)
		}
	}
	if !info.Protection.Kept() {
		detail["warning"] = "the key can leave the token, or the token does not report it: " + info.Protection.String()
	}
	if w.settings.generate {
		detail["generate_key"] = "makes no key: the token has one of this name, which " + origin(info.Protection)
	}
	return seals.KeyState{
		ID: info.URI, State: "enabled", Protection: strings.TrimSuffix("token, "+info.Protection.String(), ", "),
		Detail: detail,
	}, nil
}

// SetConfig returns the configuration without secrets. It refuses a configuration in the options:
// New has set it.
func (w *Wrapper) SetConfig(_ context.Context, options ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	o, err := wrapping.GetOpts(options...)
	if err != nil {
		return nil, err
	}
	if len(o.WithConfigMap) > 0 {
		return nil, seals.ConfigError("pkcs11", w.name,
			errors.New("a seal takes its configuration from its stanza only"))
	}
	s := w.settings
	meta := map[string]string{"lib": s.token.Lib}
	for name, v := range map[string]string{
		"token_label": s.token.TokenLabel, "token_serial": s.token.TokenSerial, "key_label": s.key.Label,
		"hmac_key_label": s.key.HMACLabel,
		"key_id":         fmt.Sprintf("%x", s.key.ID), "hmac_key_id": fmt.Sprintf("%x", s.key.HMACID),
	} {
		if v != "" {
			meta[name] = v
		}
	}
	if s.token.Slot != nil {
		meta["slot"] = fmt.Sprint(*s.token.Slot)
	}
	if s.key.Mechanism != 0 {
		meta["mechanism"] = hsm.MechanismName(s.key.Mechanism)
	}
	return &wrapping.WrapperConfig{Metadata: meta}, nil
}

// Encrypt encrypts a secret of at most hsm.MaxPlaintext bytes. wrapping.WithAad binds additional
// data. The blob has these fields:
//
//	Ciphertext, Iv            as in hsm.Sealed
//	Hmac                      CKM_AES_CBC_PAD, and CKM_RSA_PKCS_OAEP with an HMAC key
//	KeyInfo.Mechanism         the mechanism's number
//	KeyInfo.HmacMechanism     the HMAC's, or the hash's for CKM_RSA_PKCS_OAEP
//	KeyInfo.KeyId, HmacKeyId  as KeyId returns them
//	KeyInfo.WrappedKey        CKM_RSA_PKCS_OAEP only: the data key under the token's key
func (w *Wrapper) Encrypt(ctx context.Context, plaintext []byte, options ...wrapping.Option) (*wrapping.BlobInfo,
	error) {
	o, err := wrapping.GetOpts(options...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := w.within(ctx)
	defer cancel()
	var sealed *hsm.Sealed
	err = w.with(func(key *hsm.Key) (err error) {
		sealed, err = key.Encrypt(ctx, plaintext, o.WithAad)
		return err
	})
	if errors.Is(err, hsm.ErrKeyNotFound) && w.settings.generate {
		if err := w.generate(ctx); err != nil {
			return nil, w.failure(err)
		}
		sealed, err = w.keys.sole.Encrypt(ctx, plaintext, o.WithAad)
	}
	if err != nil {
		return nil, w.failure(err)
	}
	w.reached.Store(true)
	if w.settings.generate {
		w.origin.Do(func() { w.logOrigin(ctx) })
	}
	return &wrapping.BlobInfo{
		Ciphertext: sealed.Ciphertext, Iv: sealed.IV, Hmac: sealed.MAC,
		KeyInfo: &wrapping.KeyInfo{
			Mechanism: uint64(sealed.Mechanism), HmacMechanism: uint64(sealed.Hash),
			KeyId: sealed.Key, HmacKeyId: sealed.MACKey, WrappedKey: sealed.WrappedKey,
		},
	}, nil
}

// generate makes the missing keys. Only Encrypt calls it: a key that is missing when data are to be
// decrypted must be restored, and a new key with its name would be in the way.
func (w *Wrapper) generate(ctx context.Context) error {
	s := w.settings.key
	kind := hsm.AES256
	if s.Mechanism == hsm.RSAOAEP {
		kind = hsm.RSA3072
	}
	wanted := []hsm.Template{{Kind: kind, Label: s.Label, ID: s.ID}}
	if s.HMACLabel != "" {
		wanted = append(wanted, hsm.Template{Kind: hsm.HMAC256, Label: s.HMACLabel, ID: s.HMACID})
	}
	for _, k := range wanted {
		switch err := w.token.Generate(ctx, k); {
		case err == nil:
			w.origin.Do(func() {}) // this line is the one that says where the key is from
			w.log.Warn("generated a key on the HSM, because generate_key is set", "seal", w.name, "kind",
				k.Kind.String(), "label", k.Label)
		case !errors.Is(err, hsm.ErrKeyExists):
			return fmt.Errorf("generate_key: %w", err)
		}
	}
	return nil
}

// origin says who made a key.
func origin(p hsm.Protection) string {
	switch {
	case p.Local == nil:
		return "was made or imported: the token does not report CKA_LOCAL"
	case *p.Local:
		return "was generated on the token (CKA_LOCAL is true)"
	}
	return "was imported, so others may have it (CKA_LOCAL is false)"
}

// logOrigin says that generate_key made no key, because one is there.
func (w *Wrapper) logOrigin(ctx context.Context) {
	var info hsm.KeyInfo
	err := w.with(func(key *hsm.Key) (err error) {
		info, err = key.Describe(ctx)
		return err
	})
	if err != nil {
		w.log.Warn("generate_key made no key: the seal uses the one that is on the token", "seal", w.name, "error", err)
		return
	}
	level := slog.LevelInfo
	if p := info.Protection.Local; p == nil || !*p {
		level = slog.LevelWarn
	}
	w.log.Log(ctx, level, "generate_key made no key: the seal uses the existing one, which "+origin(info.Protection),
		"seal", w.name, "key", info.URI)
}

// Decrypt decrypts what Encrypt returned for the same additional data, with the key that the blob
// names. It refuses a key with another label, and one with another id than that of the stanza. It
// tries a blob that names only another token: a token restored from its backup has another serial
// number and the same keys.
func (w *Wrapper) Decrypt(ctx context.Context, blob *wrapping.BlobInfo, options ...wrapping.Option) ([]byte, error) {
	o, err := wrapping.GetOpts(options...)
	if err != nil {
		return nil, err
	}
	if blob == nil || blob.KeyInfo == nil {
		return nil, w.failure(fmt.Errorf("%w: the blob has no key information", hsm.ErrFormat))
	}
	ctx, cancel := w.within(ctx)
	defer cancel()
	key := w.keys.named(blob.KeyInfo)
	if key == nil {
		if err := w.ours(ctx, blob.KeyInfo); err != nil {
			return nil, err
		}
		key = w.keys.current()
	}
	info := blob.KeyInfo
	if uint(info.Mechanism) == hsm.RSAOAEP && uint(info.HmacMechanism) == hsm.HashSHA1 {
		if err := fips.Refuse("RSA-OAEP with SHA-1, which wrapped the stored record,", "an AES key with CKM_AES_GCM: "+
			"rewrap by it without fips = \"required\" first"); err != nil {
			return nil, seals.Fail(seals.Misconfigured, err, "see the message")
		}
	}
	plain, err := key.Decrypt(ctx, &hsm.Sealed{
		Mechanism: uint(info.Mechanism), Hash: uint(info.HmacMechanism), IV: blob.Iv, Ciphertext: blob.Ciphertext,
		MAC: blob.Hmac, WrappedKey: info.WrappedKey,
	}, o.WithAad)
	if err != nil {
		return nil, w.judge(ctx, key, blob.KeyInfo, err)
	}
	w.reached.Store(true)
	return plain, nil
}

// LoadObject returns the values of the private data objects with the label: it implements the
// keeper of an anchor.
func (w *Wrapper) LoadObject(label string) ([][]byte, error) {
	ctx, cancel := w.within(context.Background())
	defer cancel()
	values, err := w.token.ReadData(ctx, label)
	if err != nil {
		return nil, w.failure(err)
	}
	return values, nil
}

// SaveObject replaces the private data object with the label.
func (w *Wrapper) SaveObject(label string, value []byte) error {
	ctx, cancel := w.within(context.Background())
	defer cancel()
	if err := w.token.WriteData(ctx, label, value); err != nil {
		return w.failure(err)
	}
	return nil
}

// PINState returns the current state of the token's PIN counter. It sends no PIN.
func (w *Wrapper) PINState(ctx context.Context) (low, final, locked bool, err error) {
	info, err := w.token.Inspect(ctx)
	if err != nil {
		return false, false, false, w.failure(err)
	}
	return info.PINCountLow, info.PINFinalTry, info.PINLocked, nil
}

// Limits implements [seals.Limiter]: the token's flags of its PIN counter. It sends no PIN.
func (w *Wrapper) Limits(ctx context.Context) ([]seals.Limit, error) {
	low, final, locked, err := w.PINState(ctx)
	if err != nil {
		return nil, err
	}
	l := seals.Limit{What: "PIN tries"}
	switch {
	case locked:
		l.Danger, l.Remedy = "the PIN is locked", "have the security officer unlock or reset the PIN"
	case final:
		l.Danger = "a single try of the PIN is left"
	case low:
		l.Danger = "a wrong PIN was sent since the last login"
	default:
		return nil, nil
	}
	if l.Remedy == "" {
		l.Remedy = "find out who sends wrong PINs; a login with the right one resets the token's counter"
	}
	return []seals.Limit{l}, nil
}

// Close logs out and closes every session.
func (w *Wrapper) Close() error {
	if err := w.token.Close(); err != nil {
		return w.failure(err)
	}
	return nil
}
