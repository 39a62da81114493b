package xks

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
)

// base is the fixed part of every address.
const base = "/kms/xks/v1/"

// maxBody bounds what is read, before anything is hashed.
const maxBody = 64 << 10

type operation string

const (
	opHealth   operation = "health"
	opMetadata operation = "metadata"
	opEncrypt  operation = "encrypt"
	opDecrypt  operation = "decrypt"
)

// Call is a request as authorisation and audit see it. It holds no plaintext and no ciphertext.
type Call struct {
	Store       string
	Operation   string // health, metadata, encrypt, decrypt
	KeyID       string // "" for health
	AccessKeyID string
	Remote      string
	Metadata    RequestMetadata
	Rule        string // the rule that decided, once authorised
}

// Policy decides who may use a key. It is not asked for health.
type Policy interface {
	// Authorize returns the rule that allows the call, or an [Error] with the name AccessDenied. Any
	// other error is answered with InvalidStateException: the owner's policy is broken, not AWS's
	// request.
	Authorize(ctx context.Context, c *Call) (rule string, err error)
}

// Auditor records each call and each answer. An error of it fails the request.
type Auditor interface {
	Request(ctx context.Context, c *Call) error
	Response(ctx context.Context, c *Call, errorName string) error
}

// Options are what a proxy is made of.
type Options struct {
	Stores Stores
	Keys   Keys
	Policy Policy
	Audit  Auditor
	// Fleet proves encryption and decryption in the device, or returns a proof of at most a minute
	// ago.
	Fleet    func(ctx context.Context) (Fleet, error)
	Deadline time.Duration // of a whole request; 0 means 200 ms
	Now      func() time.Time
	Log      *slog.Logger
}

// Handler is the proxy.
type Handler struct {
	o     Options
	dummy *secret.Bytes // stands in for the secret of an unknown access key, so that both take the same time
}

// New returns the proxy.
func New(o Options) (*Handler, error) {
	if o.Stores == nil || o.Keys == nil || o.Policy == nil || o.Audit == nil || o.Fleet == nil {
		return nil, errors.New("xks: stores, keys, policy, audit and fleet are required")
	}
	if o.Deadline == 0 {
		o.Deadline = 200 * time.Millisecond
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c, err := NewCredential(nil)
	if err != nil {
		return nil, err
	}
	return &Handler{o: o, dummy: c.Secret}, nil
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), h.o.Deadline)
	defer cancel()
	answer, err := h.serve(ctx, w, r)
	status := http.StatusOK
	if err != nil {
		e := asError(err)
		status, answer = e.status(), errorAnswer{e.Name, e.Message}
	}
	text, failed := json.Marshal(answer)
	if failed != nil {
		h.o.Log.Error("an answer of the XKS proxy cannot be encoded", "error", failed)
		status, text = http.StatusInternalServerError, []byte(`{"errorName":"`+Internal+`"}`)
	}
	defer clear(text)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if errors.Is(err, errMethod) {
		w.Header().Set("Allow", http.MethodPost)
		status = http.StatusMethodNotAllowed
	}
	w.WriteHeader(status)
	_, _ = w.Write(text) // a client that has gone needs no answer
}

// serve takes a request up to its authentication, then [Handler.perform] it.
func (h *Handler) serve(ctx context.Context, w http.ResponseWriter, r *http.Request) (any, error) {
	prefix, op, keyID, err := route(r)
	if err != nil {
		return nil, err
	}
	store, err := h.o.Stores.Find(ctx, prefix)
	switch {
	case err != nil:
		return nil, &Error{Name: Internal, Message: "the store cannot be read; see the proxy's log", Cause: err}
	case store == nil:
		return nil, errPath
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	defer clear(raw)
	if err != nil {
		return nil, fail(Validation, "the body is longer than %d bytes or was cut off", maxBody)
	}
	accessKeyID, err := h.authenticate(r, raw, store)
	if err != nil {
		h.o.Log.Warn("the XKS proxy refused a signature", "store", store.Name, "remote", r.RemoteAddr, "reason", err)
		return nil, errSignature
	}
	b, err := parseBody(raw, op)
	if err != nil {
		return nil, err
	}
	c := &Call{Store: store.Name, Operation: string(op), KeyID: keyID, AccessKeyID: accessKeyID, Remote: r.RemoteAddr,
		Metadata: *b.RequestMetadata}
	return h.perform(ctx, store, c, b)
}

var errPath = fail(InvalidURIPath, "no external key store has this path")

// route splits a path into the store's prefix, the operation and the key.
func route(r *http.Request) (prefix string, op operation, keyID string, err error) {
	path := r.URL.EscapedPath()
	prefix, rest, ok := strings.Cut(path, base)
	if !ok || path != r.URL.Path || r.URL.RawQuery != "" {
		return "", "", "", errPath
	}
	if rest == string(opHealth) {
		return prefix, opHealth, "", methodOf(r)
	}
	parts := strings.Split(rest, "/")
	if len(parts) != 3 || parts[0] != "keys" {
		return "", "", "", errPath
	}
	switch op = operation(parts[2]); op {
	case opMetadata, opEncrypt, opDecrypt:
	default:
		return "", "", "", errPath
	}
	if !keyIDForm.MatchString(parts[1]) {
		return "", "", "", fail(KeyNotFound, "no external key has this id")
	}
	return prefix, op, parts[1], methodOf(r)
}

var errMethod = fail(UnsupportedOperation, "this address accepts only POST")

func methodOf(r *http.Request) error {
	if r.Method != http.MethodPost {
		return errMethod
	}
	return nil
}

// authenticate verifies the signature and returns the access key that made it. Its error is for the
// log.
func (h *Handler) authenticate(r *http.Request, raw []byte, store *Store) (string, error) {
	s, err := parseAuthorization(r.Header.Get("Authorization"))
	if err != nil {
		return "", err
	}
	key, known := h.dummy, false
	for _, c := range store.Credentials {
		if c.AccessKeyID == s.accessKeyID {
			key, known = c.Secret, true
		}
	}
	now := h.o.Now()
	err = s.verify(r, raw, key, now)
	switch {
	case !known:
		return "", errors.New("the access key is not one of this store's")
	case err != nil:
		return "", err
	case store.Region != "" && s.region != store.Region:
		return "", errors.New("the request is signed for another region than the store's")
	}
	h.o.Stores.Used(store, s.accessKeyID, now)
	return s.accessKeyID, nil
}
