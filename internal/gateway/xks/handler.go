package xks

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/metrics"
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

	policies []string // of the store
	granting []string // those of them that allow the call
	firstUse bool     // of the store
}

// Policy decides who may use a key. It is not asked for health.
type Policy interface {
	// Authorize returns the rule that allows the call, or an [Error] with the name AccessDenied. Any
	// other error is answered with InvalidStateException: the owner's policy is broken, not AWS's
	// request.
	Authorize(ctx context.Context, c *Call) (rule string, err error)
}

// Auditor records each call before it is carried out. An error of it fails the request.
type Auditor interface {
	// Begin records a call; refused is why nothing will be done, nil where something will. respond
	// records the answer: the name of its error, "" for none.
	Begin(ctx context.Context, c *Call, refused error) (respond func(errorName string) error, err error)
}

// Options are the dependencies of a proxy.
type Options struct {
	Stores Stores
	Keys   Keys
	Policy Policy
	Audit  Auditor
	// Fleet proves encryption and decryption by a key of the store, or returns a proof of at most a
	// minute ago.
	Fleet    func(ctx context.Context, store *Store) (Fleet, error)
	Deadline time.Duration // of a whole request; 0 means 200 ms
	Most     int           // requests at one moment; more are throttled; 0 means 1024
	Now      func() time.Time
	Log      *slog.Logger
	Metrics  *metrics.Registry // nil: nothing is counted
}

// Handler is the proxy.
type Handler struct {
	o     Options
	dummy *secret.Bytes // stands in for the secret of an unknown access key, so that both take the same time
	slots chan struct{} // one for each request under way
	calm  calm
	timer map[operation]*metrics.Timer
}

// calm bounds the lines that unauthenticated callers can add to the log.
type calm struct {
	mu     sync.Mutex
	next   time.Time
	missed int
}

// pass reports whether a line may be written, and how many were not since the last one.
func (c *calm) pass(now time.Time) (missed int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Before(c.next) && now.After(c.next.Add(-time.Minute)) {
		c.missed++
		return 0, false
	}
	missed, c.missed, c.next = c.missed, 0, now.Add(time.Second)
	return missed, true
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
	h := &Handler{o: o, dummy: c.Secret, slots: make(chan struct{}, cmp.Or(o.Most, 1024)),
		timer: map[operation]*metrics.Timer{}}
	for _, op := range []operation{opHealth, opMetadata, opEncrypt, opDecrypt} {
		h.timer[op] = o.Metrics.Timer("sealgate.xks.request", "operation", string(op))
	}
	return h, nil
}

// Serves reports whether a path of a shared listener is this protocol's.
func Serves(path string) bool {
	return strings.Contains(path, base) && !strings.HasPrefix(path, "/v1/")
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), h.o.Deadline)
	defer cancel()
	begun := h.o.Now()
	answer, err := h.receive(ctx, w, r)
	status := http.StatusOK
	if err != nil {
		e := asError(err)
		status, answer = e.status(), errorAnswer{e.Name, e.Message}
		h.o.Metrics.Counter("sealgate.xks.refused", "error", e.Name).Inc()
	}
	if _, op, _, failed := route(r); failed == nil {
		h.timer[op].Observe(h.o.Now().Sub(begun))
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

// receive reads a request and lets it be served, unless too many are. A caller that sends slowly
// holds a connection, and none of the places.
func (h *Handler) receive(ctx context.Context, w http.ResponseWriter, r *http.Request) (any, error) {
	prefix, op, keyID, err := route(r)
	if err != nil {
		return nil, err
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(h.o.Deadline)) // the listener's own remains where it is not supported
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	defer clear(raw)
	_ = rc.SetReadDeadline(time.Time{})
	if err != nil {
		return nil, fail(Validation, "the body is longer than %d bytes or was cut off", maxBody)
	}
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		return nil, fail(Throttling, "the proxy has too many requests at this moment; try again")
	}
	return h.serve(ctx, r, raw, prefix, &Call{Operation: string(op), KeyID: keyID, Remote: r.RemoteAddr})
}

// serve authenticates a request, then [Handler.perform]s it.
func (h *Handler) serve(ctx context.Context, r *http.Request, raw []byte, prefix string, c *Call) (any, error) {
	store, err := h.o.Stores.Find(ctx, prefix)
	switch {
	case err != nil:
		return nil, h.unready(ctx, err)
	case store == nil:
		return nil, errPath
	}
	c.Store, c.policies, c.firstUse = store.Name, store.Policies, store.FirstUse
	if c.AccessKeyID, err = h.authenticate(r, raw, store); err != nil {
		if missed, ok := h.calm.pass(h.o.Now()); ok {
			h.o.Log.Warn("the XKS proxy refused a signature", "store", store.Name, "remote", r.RemoteAddr, "reason", err,
				"not_logged_before", missed)
		}
		return nil, errSignature
	}
	b, err := parseBody(raw, operation(c.Operation))
	if err != nil {
		return nil, err
	}
	c.Metadata = *b.RequestMetadata
	return h.perform(ctx, store, c, b)
}

// unready names the error of a proxy that cannot read its stores.
func (h *Handler) unready(ctx context.Context, err error) error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return err
	case ctx.Err() != nil:
		return &Error{Name: DependencyTimeout, Message: "the proxy is not ready within its deadline", Cause: err}
	}
	return &Error{Name: Internal, Message: "the store cannot be read; see the proxy's log", Cause: err}
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
	if len(r.Header.Values("Authorization")) != 1 {
		return "", errors.New("there is no Authorization header, or more than one")
	}
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
