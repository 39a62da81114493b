package xks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/gateway"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/metrics"
)

// ExternalKey is the record of an external key id of a store.
type ExternalKey struct {
	ID       string
	Key      gateway.Key // of a transit mount, AES-256-GCM
	Pin      string      // the ARN of the only KMS key that may use it; "": none yet
	Proposed string      // the ARN of the KMS key that used it first; "": none
	Foreign  uint32      // the version that opens ciphertexts without metadata of this proxy; 0: none
	State    KeyState
}

// Directory is implemented by the mount that keeps stores and external keys. What it returns is
// shared and must not be changed.
type Directory interface {
	// StoreOf returns the store of a prefix, nil where there is none.
	StoreOf(ctx context.Context, prefix string) (*Store, error)
	// KeyOf returns an external key of a store, nil where there is none.
	KeyOf(ctx context.Context, store, id string) (*ExternalKey, error)
	// Propose records the KMS key that used an external key first. Where another one is recorded,
	// that one stays.
	Propose(ctx context.Context, store, id, arn string) (*ExternalKey, error)
	// Used notes that a credential verified a request.
	Used(store, accessKeyID string, at time.Time)
}

// Own joins the protocol with the server that it belongs to.
type Own struct {
	Core    *gateway.Core
	Mount   string // of the directory: "xks"
	Log     *slog.Logger
	Metrics *metrics.Registry
	Now     func() time.Time
	Proof   time.Duration // how long a proof of health counts; 0 means 30 s

	proofs proofs
	last   atomic.Pointer[Directory] // that was used
}

// Options are those of a proxy over the server's own keys.
func (o *Own) Options(deadline time.Duration) Options {
	return Options{Stores: ownStores{o}, Keys: ownKeys{o}, Policy: o, Audit: o, Fleet: o.fleet, Deadline: deadline,
		Now: o.Now, Log: o.Log, Metrics: o.Metrics}
}

var errNoDirectory = fault.New(fault.Invalid, "the gateway's mount is not of type xks: enable it there")

// with uses the directory of the node's role.
func (o *Own) with(ctx context.Context, f func(ctx context.Context, v gateway.View, d Directory) error) error {
	return o.Core.Roles.Do(ctx, func(ctx context.Context, v gateway.View) error {
		backend, _, _, err := v.Mounts.Route(strings.Trim(o.Mount, "/") + "/stores")
		if err != nil {
			return err
		}
		d, ok := backend.(Directory)
		if !ok {
			return errNoDirectory
		}
		o.last.Store(&d)
		return f(ctx, v, d)
	})
}

type ownStores struct{ *Own }

// Find implements [Stores].
func (o ownStores) Find(ctx context.Context, prefix string) (s *Store, err error) {
	err = o.with(ctx, func(ctx context.Context, _ gateway.View, d Directory) (err error) {
		s, err = d.StoreOf(ctx, prefix)
		return err
	})
	switch {
	case fault.Is(err, fault.Sealed):
		return nil, &Error{Name: InvalidState, Message: "the proxy is sealed; its operator has to unseal it", Cause: err}
	case fault.Is(err, fault.Unavailable):
		return nil, &Error{Name: DependencyTimeout, Message: "the proxy is not ready within its deadline", Cause: err}
	}
	return s, err
}

// Used implements [Stores]. It notes the time in the directory that found the store: what a change
// of role loses is a time.
func (o ownStores) Used(s *Store, accessKeyID string, at time.Time) {
	o.Metrics.Counter("sealgate.xks.credential_used", "store", s.Name, "access_key_id", accessKeyID).Inc()
	if d := o.last.Load(); d != nil {
		(*d).Used(s.Name, accessKeyID, at)
	}
}

func caller(store, remote string, policies []string) gateway.Caller {
	return gateway.Caller{Name: "xks:" + store, Policies: policies, Remote: remote}
}

// params are the members of a call that policies can restrict, by allowed_parameters on the path of
// the transit key.
type params struct{ *Call }

// Fields implements [token.Parameters].
func (p params) Fields() (map[string]any, error) {
	m := p.Metadata
	all := map[string]any{"xks_operation": p.Operation, "external_key_id": p.KeyID, "xks_store": p.Store,
		"access_key_id": p.AccessKeyID}
	for name, v := range map[string]string{
		"aws_principal_arn": m.AWSPrincipalARN, "aws_principal_account": arnPart(m.AWSPrincipalARN, 4),
		"aws_source_vpc": m.AWSSourceVPC, "aws_source_vpce": m.AWSSourceVPCE, "kms_key_arn": m.KMSKeyARN,
		"kms_key_account": arnPart(m.KMSKeyARN, 4), "kms_key_region": arnPart(m.KMSKeyARN, 3),
		"kms_operation": m.KMSOperation, "kms_via_service": m.KMSViaService,
	} {
		if v != "" {
			all[name] = v
		}
	}
	return all, nil
}

// arnPart returns a part of an ARN: 3 is the region, 4 the account; "" of other texts.
func arnPart(arn string, i int) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" {
		return ""
	}
	return parts[i]
}

// Authorize implements [Policy]. The policies of the store decide on update of
// "<mount>/encrypt/<key>" or "<mount>/decrypt/<key>", as for transit, with the call's members as
// parameters; and the KMS key has to be the one that the external key is pinned to. A key without a
// pin serves nobody, or with FirstUse the KMS key that used it first, until an operator confirms
// that one or another.
func (o *Own) Authorize(ctx context.Context, c *Call) (string, error) {
	var granting []string
	var key *ExternalKey
	err := o.with(ctx, func(ctx context.Context, v gateway.View, d Directory) (err error) {
		if key, err = d.KeyOf(ctx, c.Store, c.KeyID); err != nil || key == nil {
			return err
		}
		operation := "encrypt"
		if c.Operation == string(opDecrypt) {
			operation = "decrypt"
		}
		granting, err = v.Authorize(ctx, caller(c.Store, c.Remote, c.policies), key.Key.Path(operation), params{c})
		if err != nil || c.Metadata.KMSKeyARN == "" || key.Pin != "" || key.Proposed != "" {
			return err
		}
		next, err := d.Propose(ctx, c.Store, c.KeyID, c.Metadata.KMSKeyARN)
		switch {
		case err == nil:
			key = next
		case !fault.Is(err, fault.Unavailable):
			return err
		case c.firstUse: // a standby cannot record it
			return &Error{Name: Throttling, Message: "the first use has to be recorded by the active node; try again",
				Cause: err}
		}
		return nil
	})
	switch {
	case fault.Is(err, fault.Denied):
		return "", &Error{Name: AccessDenied, Message: "the policies of the external key store do not allow the request",
			Cause: err}
	case err != nil:
		return "", keyError(err, c.Operation)
	case key == nil:
		return "", errNoKey
	}
	c.granting = granting
	rule := "policies " + strings.Join(granting, ",")
	return o.checkPin(c, key, rule)
}

// checkPin compares the KMS key with the one that may use the external key.
func (o *Own) checkPin(c *Call, key *ExternalKey, rule string) (string, error) {
	arn := c.Metadata.KMSKeyARN
	switch {
	case arn == "": // CreateKey: the KMS key does not exist yet
		return rule, nil
	case key.Pin == arn:
		return rule + "; pinned KMS key", nil
	case key.Pin == "" && key.Proposed == arn && c.firstUse:
		return rule + "; first use, not confirmed", nil
	}
	text := "the external key is pinned to another KMS key"
	if key.Pin == "" {
		text = "the operator of the proxy has to confirm the KMS key of this external key first"
	}
	o.Metrics.Counter("sealgate.xks.wrong_kms_key", "store", c.Store).Inc()
	o.Log.Warn("a KMS key that is not confirmed uses an external key", "store", c.Store, "key", c.KeyID, "kms_key_arn",
		arn, "pinned", key.Pin, "proposed", key.Proposed, "principal", c.Metadata.AWSPrincipalARN, "request",
		c.Metadata.KMSRequestID)
	return "", fail(AccessDenied, "%s", text)
}

// Begin implements [Auditor].
func (o *Own) Begin(_ context.Context, c *Call, refused error) (func(string) error, error) {
	m := c.Metadata
	shown := map[string]string{"xks_store": c.Store, "external_key_id": c.KeyID, "access_key_id": c.AccessKeyID,
		"rule": c.Rule, "aws_principal_arn": m.AWSPrincipalARN, "aws_source_vpc": m.AWSSourceVPC,
		"aws_source_vpce": m.AWSSourceVPCE, "kms_key_arn": m.KMSKeyARN, "kms_operation": m.KMSOperation,
		"kms_request_id": m.KMSRequestID, "kms_via_service": m.KMSViaService}
	for name, v := range shown {
		if v == "" {
			delete(shown, name)
		}
	}
	path := strings.Trim(o.Mount, "/") + "/stores/" + c.Store + "/" + c.Operation
	if c.KeyID != "" {
		path = strings.Trim(o.Mount, "/") + "/stores/" + c.Store + "/keys/" + c.KeyID + "/" + c.Operation
	}
	if refused != nil {
		refused = fault.New(fault.Denied, "%s", asError(refused).Name)
	}
	respond, err := o.Core.Begin(caller(c.Store, c.Remote, c.policies),
		gateway.Entry{Path: path, Type: "xks", Shown: shown}, c.granting, refused)
	if err != nil {
		return nil, err
	}
	return func(name string) error { return respond(nil, name) }, nil
}

type ownKeys struct{ *Own }

var errNoKey = fail(KeyNotFound, "the store has no external key of this id")

// Find implements [Keys].
func (o ownKeys) Find(ctx context.Context, s *Store, id string) (Key, error) {
	var key *ExternalKey
	err := o.with(ctx, func(ctx context.Context, _ gateway.View, d Directory) (err error) {
		key, err = d.KeyOf(ctx, s.Name, id)
		return err
	})
	switch {
	case err != nil:
		return nil, keyError(err, "")
	case key == nil:
		return nil, errNoKey
	}
	return &ownKey{o.Own, key, "xks:" + s.Name}, nil
}

// ownKey is an external key as of one request.
type ownKey struct {
	own *Own
	*ExternalKey
	by string
}

// State implements [Key].
func (k *ownKey) State() KeyState { return k.ExternalKey.State }

// open uses the transit key.
func (k *ownKey) open(ctx context.Context, operation string, f func(ctx context.Context, n *keys.Named) error) error {
	err := k.own.Core.Roles.Do(ctx, func(ctx context.Context, v gateway.View) error {
		n, err := v.Open(ctx, k.Key, k.by)
		if err != nil {
			return &Error{Name: InvalidState, Message: "the key behind the external key cannot be used", Cause: err}
		}
		if n.Type() != keys.AES256GCM {
			return fail(InvalidState, "the key behind the external key is not AES-256-GCM")
		}
		return f(ctx, n)
	})
	return keyError(err, operation)
}

// Check proves that the key can be opened, for the metadata operation.
func (k *ownKey) Check(ctx context.Context) error {
	return k.open(ctx, "", func(context.Context, *keys.Named) error { return nil })
}

// Newest implements [Key].
func (k *ownKey) Newest(ctx context.Context) (Version, error) {
	version := &ownVersion{key: k}
	err := k.open(ctx, string(opEncrypt), func(ctx context.Context, n *keys.Named) (err error) {
		_, latest := n.Versions()
		version.m.Version = uint32(latest)
		version.m.Fingerprint, err = n.Fingerprint(ctx, latest)
		return err
	})
	return version, err
}

var errNotOurs = fail(InvalidCiphertext, "the ciphertext is not authentic, or of another key")

// ForCiphertext implements [Key]. The fingerprint is not compared: the tag decides, so that a key
// that was restored opens what it has encrypted.
func (k *ownKey) ForCiphertext(_ context.Context, metadata []byte) (Version, error) {
	m, err := ParseMetadata(metadata)
	switch {
	case err == nil:
		return &ownVersion{k, m}, nil
	case k.Foreign == 0:
		return nil, errNotOurs
	}
	return &ownVersion{k, Metadata{Version: k.Foreign}}, nil
}

type ownVersion struct {
	key *ownKey
	m   Metadata
}

// Metadata implements [Version].
func (v *ownVersion) Metadata() Metadata { return v.m }

const ivSize = 12

// Seal implements [Version].
func (v *ownVersion) Seal(ctx context.Context, plaintext, aad []byte) (iv, ciphertext, tag []byte, err error) {
	var blob []byte
	err = v.key.open(ctx, string(opEncrypt), func(ctx context.Context, n *keys.Named) (err error) {
		_, blob, err = n.EncryptBy(ctx, int(v.m.Version), plaintext, aad)
		return err
	})
	if err != nil {
		return nil, nil, nil, err
	}
	if len(blob) != ivSize+len(plaintext)+tagSize {
		return nil, nil, nil, fmt.Errorf("xks: the key returned %d bytes for %d", len(blob), len(plaintext))
	}
	end := len(blob) - tagSize
	return blob[:ivSize:ivSize], blob[ivSize:end:end], blob[end:], nil
}

// Open implements [Version]. An IV of 16 bytes is none of this proxy's, and no key takes it.
func (v *ownVersion) Open(ctx context.Context, iv, ciphertext, tag, aad []byte) (plain []byte, err error) {
	if len(iv) != ivSize {
		return nil, errNotOurs
	}
	blob := append(append(append(make([]byte, 0, len(iv)+len(ciphertext)+len(tag)), iv...), ciphertext...), tag...)
	err = v.key.open(ctx, string(opDecrypt), func(ctx context.Context, n *keys.Named) (err error) {
		if plain, err = n.Decrypt(ctx, int(v.m.Version), blob, aad); err == nil {
			_, latest := n.Versions()
			v.key.opened(int(v.m.Version) == latest)
		}
		return err
	})
	return plain, err
}

// opened counts decryptions by the latest version and by older ones, which are still needed.
func (k *ownKey) opened(current bool) {
	k.own.Metrics.Counter("sealgate.xks.opened", "store", strings.TrimPrefix(k.by, "xks:"), "current",
		strconv.FormatBool(current)).Inc()
}

// keyError names the error of a key. AWS shows its caller a text by the name.
func keyError(err error, operation string) error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	wrap := func(name, text string) error { return &Error{Name: name, Message: text, Cause: err} }
	switch {
	case errors.Is(err, keys.ErrTooOld):
		return wrap(InvalidState, "the key version of the ciphertext is not allowed any more")
	case fault.Is(err, fault.Invalid) && operation == string(opDecrypt):
		return wrap(InvalidCiphertext, errNotOurs.Message)
	case fault.Is(err, fault.Invalid):
		return wrap(InvalidKeyUsage, "the key behind the external key cannot do this operation")
	case fault.Is(err, fault.Denied):
		return wrap(AccessDenied, "the policies of the external key store do not allow the request")
	case fault.Is(err, fault.Limited):
		return wrap(Throttling, "the device of the key has too much to do; try again")
	case fault.Is(err, fault.Sealed):
		return wrap(InvalidState, "the proxy is sealed; its operator has to unseal it")
	case fault.Is(err, fault.Unavailable):
		return wrap(DependencyTimeout, "the key's device does not answer")
	case fault.Is(err, fault.NotFound):
		return wrap(InvalidState, "the key behind the external key does not exist")
	}
	return err
}
