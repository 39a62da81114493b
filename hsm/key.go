package hsm

import (
	"bytes"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// KeySpec selects a wrapping key and its mechanism. It needs the key's label, its id, or both. A
// nil id selects by the label alone; an empty one that is not nil selects the key without an id.
type KeySpec struct {
	Label string
	ID    []byte // CKA_ID

	// Mechanism is CKM_AES_GCM, CKM_AES_CBC_PAD or CKM_RSA_PKCS_OAEP; 0 selects one that works with
	// the key.
	Mechanism uint

	// The MAC's key, which CKM_AES_CBC_PAD needs. With CKM_RSA_PKCS_OAEP, where anybody can encrypt,
	// it proves who did.
	HMACLabel     string
	HMACID        []byte
	HMACMechanism uint // 0: CKM_SHA256_HMAC

	// AllowNoMAC accepts ciphertexts of an RSA key that were made before it had an HMAC key.
	AllowNoMAC bool

	OAEPHash uint // CKM_SHA256, ...; 0: the first that the token has, but for SHA-1
	// NonExtractable refuses a key that can leave the token, or whose token does not report whether
	// it can.
	NonExtractable bool

	OAEPOnToken bool // encrypt on the token too, with its public key object, instead of in software
}

// Protection is what a token reports of a key's protection. A nil field means that it reports
// nothing.
type Protection struct {
	Sensitive   *bool // CKA_SENSITIVE: the token does not reveal the key in plain text
	Extractable *bool // CKA_EXTRACTABLE: the key can be wrapped by another key and leave the token
	Local       *bool // CKA_LOCAL: the token generated the key
}

// Kept reports whether the key cannot leave the token, as far as the token reports it.
func (p Protection) Kept() bool {
	return p.Sensitive != nil && *p.Sensitive && p.Extractable != nil && !*p.Extractable
}

// String lists the attributes: "sensitive, not extractable, generated on the token".
func (p Protection) String() string {
	var parts []string
	for _, a := range []struct {
		v       *bool
		yes, no string
	}{
		{p.Sensitive, "sensitive", "not sensitive"}, {p.Extractable, "extractable", "not extractable"},
		{p.Local, "generated on the token", "imported"},
	} {
		switch {
		case a.v == nil:
		case *a.v:
			parts = append(parts, a.yes)
		default:
			parts = append(parts, a.no)
		}
	}
	return strings.Join(parts, ", ")
}

func protectionOf(o object) Protection {
	read := func(attribute uint) *bool {
		if v, known := o.raw.Bool(attribute); known {
			return &v
		}
		return nil
	}
	return Protection{read(ck.AttrSensitive), read(ck.AttrExtractable), read(ck.AttrLocal)}
}

// Key is a key on a token. Its first use finds it, and the first use after each login finds it
// again. It is safe for concurrent use.
type Key struct {
	t    *Token
	spec KeySpec

	found  atomic.Pointer[found]
	scheme atomic.Pointer[scheme] // proven by a round trip; never changes
	sha1   sync.Once              // logs that a ciphertext has SHA-1
}

// found is a key as one login session sees it. Its handles are valid as long as that session.
type found struct {
	at     *loginSession
	key    object
	hmac   object
	uri    string
	macURI string
	public *rsa.PublicKey
	pubKey uint // handle of the public key object, if the token encrypts
}

// object is a key object and its attributes.
type object struct {
	handle uint
	class  uint
	kind   uint
	label  string
	id     []byte
	raw    ck.Object
}

// KeyInfo describes a key after a successful round trip.
type KeyInfo struct {
	URI           string // canonical, see [Key.Describe]
	HMACURI       string // of the MAC's key, if there is one
	Mechanism     uint
	HMACMechanism uint
	OAEPHash      uint
	Bits          int
	Protection    Protection
}

// Key returns a key. It checks the specification and does not touch the token.
func (t *Token) Key(spec KeySpec) (*Key, error) {
	if spec.Label == "" && len(spec.ID) == 0 {
		return nil, fmt.Errorf("%w: no key is selected: set its label or its id", ErrConfig)
	}
	switch spec.Mechanism {
	case 0, ck.MechAESGCM, ck.MechRSAOAEP:
	case ck.MechAESCBCPad:
		if spec.HMACLabel == "" && len(spec.HMACID) == 0 {
			return nil, fmt.Errorf("%w: CKM_AES_CBC_PAD does not authenticate: select the key of its HMAC, too",
				ErrConfig)
		}
	default:
		return nil, fmt.Errorf("%w: mechanism %s does not authenticate, or is not supported", ErrConfig,
			MechanismName(spec.Mechanism))
	}
	if spec.HMACMechanism == 0 {
		spec.HMACMechanism = ck.MechSHA256HMAC
	}
	if _, known := macSize[spec.HMACMechanism]; !known {
		return nil, fmt.Errorf("%w: %s is not a supported HMAC mechanism", ErrConfig, MechanismName(spec.HMACMechanism))
	}
	if _, known := oaepHashes[spec.OAEPHash]; !known && spec.OAEPHash != 0 {
		return nil, fmt.Errorf("%w: %s is not a supported hash for OAEP", ErrConfig, MechanismName(spec.OAEPHash))
	}
	spec.ID, spec.HMACID = bytes.Clone(spec.ID), bytes.Clone(spec.HMACID)
	return &Key{t: t, spec: spec}, nil
}

// Describe finds the key, proves its mechanism with a round trip if that was not done before, and
// describes it. The URI is that of RFC 7512 with the token's serial number and the key's label and
// id. It does not depend on slots, restarts or paths.
func (k *Key) Describe(ctx context.Context) (KeyInfo, error) {
	var info KeyInfo
	k.found.Store(nil)
	err := k.use(ctx, false, func(_ *call, f *found, s scheme) error {
		info = f.info(s)
		return nil
	})
	return info, err
}

// Known returns the last description without asking the token. ok is false before the first use.
func (k *Key) Known() (info KeyInfo, ok bool) {
	f, s := k.found.Load(), k.scheme.Load()
	if f == nil || s == nil {
		return KeyInfo{}, false
	}
	return f.info(*s), true
}

func (f *found) info(s scheme) KeyInfo {
	info := KeyInfo{URI: f.uri, Mechanism: s.mechanism, OAEPHash: s.hash}
	switch {
	case s.mechanism == ck.MechAESCBCPad:
		info.HMACURI, info.HMACMechanism = f.macURI, s.mac
	case s.mechanism == ck.MechRSAOAEP:
		info.HMACURI = f.macURI
	}
	info.Protection = protectionOf(f.key)
	if f.public != nil {
		info.Bits = f.public.N.BitLen()
	} else if n, ok := f.key.raw.Ulong(ck.AttrValueLen); ok {
		info.Bits = int(n) * 8
	}
	return info
}

// uri returns the canonical name (RFC 7512).
func uri(s ck.Slot, o object) string {
	var b strings.Builder
	fmt.Fprintf(&b, "pkcs11:serial=%s;object=%s;id=", url.PathEscape(s.Serial), url.PathEscape(o.label))
	for _, c := range o.id {
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

// use finds the key, proves its scheme and runs f. legacy allows SHA-1 for OAEP, for ciphertexts
// that have it.
func (k *Key) use(ctx context.Context, legacy bool, f func(*call, *found, scheme) error) error {
	return k.t.do(ctx, func(c *call) error {
		fd, err := k.lookup(c)
		if err != nil {
			return err
		}
		s, err := k.proven(c, fd, legacy)
		if err != nil {
			return err
		}
		if err = f(c, fd, s); err != nil && damagesSession(err) {
			k.found.CompareAndSwap(fd, nil) // the handle may be the cause
		}
		return err
	})
}

// lookup finds the key's objects once for each login session.
func (k *Key) lookup(c *call) (*found, error) {
	if f := k.found.Load(); f != nil && f.at == c.at {
		return f, nil
	}
	f := &found{at: c.at}
	var err error
	if f.key, err = findKey(c.session, k.spec.Label, k.spec.ID, k.wants()); err != nil {
		return nil, err
	}
	if f.key.kind == ck.KeyRSA {
		if err := k.findPublic(c.session, f); err != nil {
			return nil, err
		}
	}
	if k.spec.HMACLabel != "" || len(k.spec.HMACID) > 0 {
		if f.hmac, err = findKey(c.session, k.spec.HMACLabel, k.spec.HMACID, wantHMAC); err != nil {
			return nil, fmt.Errorf("the HMAC key: %w", err)
		}
		f.macURI = uri(c.at.slot, f.hmac)
	}
	if err := k.protected(f); err != nil {
		return nil, err
	}
	f.uri = uri(c.at.slot, f.key)
	k.found.Store(f)
	return f, nil
}

// protected enforces NonExtractable.
func (k *Key) protected(f *found) error {
	if !k.spec.NonExtractable {
		return nil
	}
	for _, o := range []object{f.key, f.hmac} {
		if p := protectionOf(o); o.handle != 0 && !p.Kept() {
			reported := p.String()
			if reported == "" {
				reported = "no such attributes"
			}
			return fmt.Errorf("%w: the token reports of the key with %s: %s", ErrKeyProtection, nameOf(o.label, o.id),
				reported)
		}
	}
	return nil
}

func (k *Key) wants() want {
	switch k.spec.Mechanism {
	case ck.MechRSAOAEP:
		return wantRSA
	case ck.MechAESGCM, ck.MechAESCBCPad:
		return wantAES
	}
	return wantAny
}

// want describes the key that a lookup needs.
type want struct {
	name string
	fits func(object) bool
	uses []uint // attributes that must not be false
}

func isAES(o object) bool { return o.class == ck.ClassSecret && o.kind == ck.KeyAES }
func isRSA(o object) bool { return o.class == ck.ClassPrivate && o.kind == ck.KeyRSA }
func isHMAC(o object) bool {
	return o.class == ck.ClassSecret && (o.kind == ck.KeyGeneric || o.kind >= ck.KeySHA256 && o.kind <= ck.KeySHA512)
}

var (
	wantAES = want{"an AES key", isAES, []uint{ck.AttrEncrypt, ck.AttrDecrypt}}
	wantRSA = want{"an RSA private key", isRSA, []uint{ck.AttrDecrypt}}
	wantAny = want{"an AES key or an RSA private key", func(o object) bool { return isAES(o) || isRSA(o) },
		[]uint{ck.AttrDecrypt}}
	wantHMAC = want{"a generic secret or HMAC key", isHMAC, []uint{ck.AttrSign}}
)

// read lists the attributes that a lookup reads.
var read = []uint{
	ck.AttrClass, ck.AttrKeyType, ck.AttrLabel, ck.AttrID, ck.AttrEncrypt, ck.AttrDecrypt, ck.AttrSign, ck.AttrVerify,
	ck.AttrToken,
	ck.AttrPrivate, ck.AttrSensitive, ck.AttrExtractable, ck.AttrLocal, ck.AttrModulus, ck.AttrPublicExponent,
	ck.AttrECParams, ck.AttrECPoint,
	ck.AttrValueLen,
	ck.AttrAlwaysAuthenticate,
}

// maxMatches bounds the objects of one name that a lookup reads.
const maxMatches = 64

// matches returns the key objects with the label and id.
func matches(s ck.Session, label string, id []byte) ([]object, error) {
	var template []ck.Attribute
	if label != "" {
		template = append(template, ck.String(ck.AttrLabel, label))
	}
	if len(id) > 0 {
		template = append(template, ck.Attribute{Type: ck.AttrID, Value: id})
	}
	raw, err := s.Find(template, read, maxMatches)
	if err != nil {
		return nil, fmt.Errorf("searching for the key: %w", err)
	}
	objects := make([]object, 0, len(raw))
	for _, r := range raw {
		o := object{handle: r.Handle, label: string(r.Attributes[ck.AttrLabel]), id: r.Attributes[ck.AttrID], raw: r}
		var ok1, ok2 bool
		o.class, ok1 = r.Ulong(ck.AttrClass)
		o.kind, ok2 = r.Ulong(ck.AttrKeyType)
		if ok1 && ok2 { // certificates and data have no key type
			objects = append(objects, o)
		}
	}
	return objects, nil
}

// findKey returns the only key that fits, or an error that says why there is not exactly one.
func findKey(s ck.Session, label string, id []byte, w want) (object, error) {
	all, err := matches(s, label, id)
	if err != nil {
		return object{}, err
	}
	if id != nil && len(id) == 0 {
		all = slices.DeleteFunc(all, func(o object) bool { return len(o.id) > 0 })
	}
	var fit []object
	for _, o := range all {
		if w.fits(o) {
			fit = append(fit, o)
		}
	}
	name := nameOf(label, id)
	switch {
	case len(fit) > 1:
		return object{}, fmt.Errorf("%w: %d keys have %s", ErrAmbiguousKey, len(fit), name)
	case len(fit) == 0 && len(all) == 0:
		return object{}, fmt.Errorf("%w: %s", errMissing, name)
	case len(fit) == 0:
		return object{}, fmt.Errorf("%w: %s belongs to %s, not to %s", ErrKeyType, name, describe(all[0]), w.name)
	}
	for _, a := range w.uses {
		if allowed, known := fit[0].raw.Bool(a); known && !allowed && !(a == ck.AttrEncrypt && isRSA(fit[0])) {
			return object{}, fmt.Errorf("%w: the key with %s has %s=false", ErrKeyUse, name, attrNames[a])
		}
	}
	if again, _ := fit[0].raw.Bool(ck.AttrAlwaysAuthenticate); again {
		return object{}, fmt.Errorf("%w: the key with %s needs the PIN at every use (CKA_ALWAYS_AUTHENTICATE)",
			ErrKeyUse, name)
	}
	return fit[0], nil
}

var attrNames = map[uint]string{
	ck.AttrEncrypt: "CKA_ENCRYPT", ck.AttrDecrypt: "CKA_DECRYPT", ck.AttrSign: "CKA_SIGN", ck.AttrVerify: "CKA_VERIFY",
	ck.AttrToken: "CKA_TOKEN", ck.AttrPrivate: "CKA_PRIVATE", ck.AttrSensitive: "CKA_SENSITIVE",
	ck.AttrExtractable: "CKA_EXTRACTABLE",
}

func nameOf(label string, id []byte) string {
	var parts []string
	if label != "" {
		parts = append(parts, fmt.Sprintf("label %q", label))
	}
	switch {
	case len(id) > 0:
		parts = append(parts, fmt.Sprintf("id %x", id))
	case id != nil:
		parts = append(parts, "no id")
	}
	return strings.Join(parts, " and ")
}

func describe(o object) string {
	class := map[uint]string{ck.ClassPublic: "public", ck.ClassPrivate: "private", ck.ClassSecret: "secret"}[o.class]
	switch o.kind {
	case ck.KeyAES:
		return "an AES key"
	case ck.KeyRSA:
		return "an RSA " + class + " key"
	case ck.KeyGeneric:
		return "a generic secret"
	}
	return fmt.Sprintf("a %s key of type 0x%x", class, o.kind)
}

// findPublic reads the public half from the private key, or from the public key object if the
// private key lacks it or the token encrypts.
func (k *Key) findPublic(s ck.Session, f *found) error {
	var err error
	f.public, err = publicOf(f.key)
	if err == nil && !k.spec.OAEPOnToken {
		return nil
	}
	all, ferr := matches(s, k.spec.Label, k.spec.ID)
	if ferr != nil {
		return ferr
	}
	for _, o := range all {
		p, perr := publicOf(o)
		if o.class != ck.ClassPublic || o.kind != ck.KeyRSA || perr != nil || (f.public != nil && !p.Equal(f.public)) {
			continue
		}
		if k.spec.ID != nil && !bytes.Equal(o.id, k.spec.ID) {
			continue
		}
		f.public, f.pubKey = p, o.handle
		return nil
	}
	return fmt.Errorf("%w: the token has no public key object for the private key with %s", ErrKeyUse,
		nameOf(k.spec.Label, k.spec.ID))
}

func publicOf(o object) (*rsa.PublicKey, error) {
	n, e := new(big.Int).SetBytes(o.raw.Attributes[ck.AttrModulus]),
		new(big.Int).SetBytes(o.raw.Attributes[ck.AttrPublicExponent])
	if n.BitLen() < 2048 || n.BitLen() > 16384 || e.BitLen() < 2 || e.BitLen() > 31 {
		return nil, errors.New("the modulus or the exponent is missing or out of range")
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
}
