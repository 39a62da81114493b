package xks

import (
	"context"
	"crypto/subtle"
	"errors"
)

// perform audits, authorises and carries out an authenticated call.
func (h *Handler) perform(ctx context.Context, store *Store, c *Call, b *body) (any, error) {
	work, refused := h.prepare(ctx, store, c, b)
	respond, err := h.o.Audit.Begin(ctx, c, refused)
	if err != nil {
		return nil, h.unrecorded(c, err)
	}
	var answer any
	if err = refused; err == nil {
		answer, err = work(ctx)
	}
	if err != nil && ctx.Err() != nil {
		err = &Error{Name: DependencyTimeout, Message: "the key did not answer within the proxy's deadline", Cause: err}
	}
	name := ""
	if err != nil {
		e := asError(err)
		name, err = e.Name, e
		h.o.Log.Warn("the XKS proxy refuses a call", "store", c.Store, "operation", c.Operation, "key", c.KeyID,
			"request", c.Metadata.KMSRequestID, "name", e.Name, "reason", errors.Unwrap(e))
	}
	if failed := respond(name); failed != nil {
		return nil, h.unrecorded(c, failed)
	}
	return answer, err
}

// unrecorded is the answer to a call that the audit trail does not have.
func (h *Handler) unrecorded(c *Call, err error) error {
	h.o.Log.Error("the XKS proxy cannot record a call, so it is not answered", "store", c.Store, "request",
		c.Metadata.KMSRequestID, "error", err)
	return &Error{Name: InvalidState, Message: "the proxy cannot record the request and does not answer", Cause: err}
}

// prepare checks all that can be checked without the key's device, and returns what is left to do.
func (h *Handler) prepare(ctx context.Context, store *Store, c *Call, b *body) (func(context.Context) (any, error),
	error) {
	if store.Disabled {
		return nil, fail(InvalidState, "the external key store is disabled by its owner")
	}
	if c.Operation == string(opHealth) {
		c.Rule = "health"
		return func(ctx context.Context) (any, error) { return h.o.Fleet(ctx, store) }, nil
	}
	key, err := h.o.Keys.Find(ctx, store, c.KeyID)
	if err != nil {
		return nil, err
	}
	if c.Rule, err = h.authorize(ctx, c); err != nil {
		return nil, err
	}
	state := key.State()
	if c.Operation == string(opMetadata) {
		return func(ctx context.Context) (any, error) { return describe(state), check(ctx, key) }, nil
	}
	if state.Disabled {
		return nil, fail(InvalidState, "the external key is disabled by its owner")
	}
	if c.Operation == string(opEncrypt) {
		return prepareEncrypt(key, state, b)
	}
	return prepareDecrypt(key, state, b)
}

func (h *Handler) authorize(ctx context.Context, c *Call) (string, error) {
	rule, err := h.o.Policy.Authorize(ctx, c)
	if e := (*Error)(nil); err != nil && !errors.As(err, &e) {
		return "", &Error{Name: InvalidState, Message: "the owner's policy cannot be evaluated", Cause: err}
	}
	return rule, err
}

// check asks a key that can be checked whether it is usable: CreateKey in KMS believes the answer.
func check(ctx context.Context, key Key) error {
	if c, ok := key.(interface{ Check(context.Context) error }); ok {
		return c.Check(ctx)
	}
	return nil
}

func describe(s KeyState) metadataAnswer {
	a := metadataAnswer{KeySpec: "AES_256", KeyStatus: "ENABLED", KeyUsage: []string{}}
	if s.Disabled {
		a.KeyStatus = "DISABLED"
	}
	if !s.NoEncrypt {
		a.KeyUsage = append(a.KeyUsage, "ENCRYPT")
	}
	if !s.NoDecrypt {
		a.KeyUsage = append(a.KeyUsage, "DECRYPT")
	}
	return a
}

func checkAlgorithm(b *body) error {
	if b.EncryptionAlgorithm == nil || *b.EncryptionAlgorithm != "AES_GCM" {
		return fail(Validation, "encryptionAlgorithm is not AES_GCM")
	}
	return nil
}

func prepareEncrypt(key Key, state KeyState, b *body) (func(context.Context) (any, error), error) {
	if state.NoEncrypt {
		return nil, fail(InvalidKeyUsage, "the external key may not encrypt")
	}
	if err := checkAlgorithm(b); err != nil {
		return nil, err
	}
	if b.IntegrityAlgorithm != nil && *b.IntegrityAlgorithm != "SHA_256" {
		return nil, fail(Validation, "ciphertextDataIntegrityValueAlgorithm is not SHA_256")
	}
	if b.Plaintext == nil {
		return nil, fail(Validation, "plaintext is missing")
	}
	plaintext, err := bytesOf("plaintext", b.Plaintext, maxPlaintext, UnsupportedOperation)
	if err != nil {
		return nil, err
	}
	aad, err := bytesOf("additionalAuthenticatedData", b.AAD, maxAAD, UnsupportedOperation)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (any, error) {
		defer clear(plaintext)
		return encrypt(ctx, key, plaintext, aad, b.IntegrityAlgorithm != nil)
	}, nil
}

// encrypt seals by the newest version. Where the integrity value is asked for, it is computed over
// what will be sent, and then that is decrypted and compared: the order proves that the hashed
// bytes decrypt.
func encrypt(ctx context.Context, key Key, plaintext, aad []byte, withIntegrity bool) (any, error) {
	v, err := key.Newest(ctx)
	if err != nil {
		return nil, err
	}
	a := encryptAnswer{Metadata: v.Metadata().Marshal()}
	full := fullAAD(aad, a.Metadata)
	if a.IV, a.Ciphertext, a.Tag, err = v.Seal(ctx, plaintext, full); err != nil {
		return nil, err
	}
	if len(a.Ciphertext) != len(plaintext) || len(a.Tag) != tagSize || !isIV(a.IV) {
		return nil, &Error{Name: Internal, Message: "the key returned a ciphertext of another form",
			Cause: errors.New("xks: IV, ciphertext or tag has a wrong length")}
	}
	if !withIntegrity {
		return a, nil
	}
	a.Integrity = integrity(aad, a.Metadata, a.IV, a.Ciphertext, a.Tag)
	back, err := v.Open(ctx, a.IV, a.Ciphertext, a.Tag, full)
	if err != nil {
		return nil, &Error{Name: Internal, Message: "the new ciphertext does not decrypt", Cause: err}
	}
	defer clear(back)
	if subtle.ConstantTimeCompare(back, plaintext) != 1 {
		return nil, fail(Internal, "the new ciphertext decrypts to something else")
	}
	return a, nil
}

func isIV(b []byte) bool { return len(b) == 12 || len(b) == 16 }

func prepareDecrypt(key Key, state KeyState, b *body) (func(context.Context) (any, error), error) {
	if state.NoDecrypt {
		return nil, fail(InvalidKeyUsage, "the external key may not decrypt")
	}
	if err := checkAlgorithm(b); err != nil {
		return nil, err
	}
	if b.Ciphertext == nil || b.IV == nil || b.Tag == nil {
		return nil, fail(Validation, "ciphertext, initializationVector or authenticationTag is missing")
	}
	var ciphertext, iv, tag, metadata, aad []byte
	for _, m := range []struct {
		name  string
		from  *string
		to    *[]byte
		limit int
		large string
	}{
		{"ciphertext", b.Ciphertext, &ciphertext, maxPlaintext, UnsupportedOperation},
		{"additionalAuthenticatedData", b.AAD, &aad, maxAAD, UnsupportedOperation},
		{"initializationVector", b.IV, &iv, 16, Validation},
		{"authenticationTag", b.Tag, &tag, tagSize, Validation},
		{"ciphertextMetadata", b.Metadata, &metadata, maxMetadata, Validation},
	} {
		var err error
		if *m.to, err = bytesOf(m.name, m.from, m.limit, m.large); err != nil {
			return nil, err
		}
	}
	if !isIV(iv) || len(tag) != tagSize {
		return nil, fail(Validation, "initializationVector is not 12 or 16 bytes, or authenticationTag is not 16 bytes")
	}
	return func(ctx context.Context) (any, error) {
		v, err := key.ForCiphertext(ctx, metadata)
		if err != nil {
			return nil, err
		}
		plaintext, err := v.Open(ctx, iv, ciphertext, tag, fullAAD(aad, metadata))
		if state.HashedAAD && b.AAD != nil && isName(err, InvalidCiphertext) {
			plaintext, err = v.Open(ctx, iv, ciphertext, tag, hashedAAD(aad, metadata))
		}
		if err != nil {
			return nil, err
		}
		return decryptAnswer{plaintext}, nil
	}, nil
}

func isName(err error, name string) bool {
	var e *Error
	return errors.As(err, &e) && e.Name == name
}
