package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/node"
)

// recoveryRoutes are all that a server in recovery mode has.
var recoveryRoutes = []route{
	{Methods: get, Path: "sys/generate-recovery-token/attempt", Access: anybodyAlways, Style: bareStyle,
		Lifecycle: true, Guarded: true, Handle: (*handler).recoveryStatus},
	{Methods: write, Path: "sys/generate-recovery-token/attempt", Body: keyBody, Access: anybodyAlways,
		Style: bareStyle, Lifecycle: true, Guarded: true, Handle: (*handler).recoveryStart},
	{Methods: remove, Path: "sys/generate-recovery-token/attempt", Body: smallBody, Access: anybodyAlways,
		Style: bareStyle, Lifecycle: true, Guarded: true, Handle: (*handler).recoveryCancel},
	{Methods: write, Path: "sys/generate-recovery-token/update", Body: smallBody, Access: anybodyAlways,
		Style: bareStyle, Lifecycle: true, Shares: true, Guarded: true, Handle: (*handler).recoveryUpdate},
	{Methods: get, Path: "sys/raw/*", Access: withRecoveryToken, Lifecycle: true, Guarded: true,
		Handle: (*handler).rawRead},
	{Methods: listing, Path: "sys/raw", Access: withRecoveryToken, Lifecycle: true, Guarded: true,
		Handle: (*handler).rawList},
	{Methods: listing, Path: "sys/raw/*", Access: withRecoveryToken, Lifecycle: true, Guarded: true,
		Handle: (*handler).rawList},
	{Methods: write, Path: "sys/raw/*", Body: anyBody, Access: withRecoveryToken, Style: bareStyle,
		Lifecycle: true, Guarded: true, Handle: (*handler).rawWrite},
	{Methods: remove, Path: "sys/raw/*", Access: withRecoveryToken, Style: bareStyle, Lifecycle: true,
		Guarded: true, Handle: (*handler).rawDelete},
}

// NewRecovery returns the API of a server in recovery mode: a token by a quorum of shares, and raw storage by that token. Every
// other path is not there, not even health. c has no Node.
func NewRecovery(c Config, mode *node.RecoveryMode) http.Handler {
	h := newHandler(c, Table{Routes: recoveryRoutes})
	h.mode = mode
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, "/v1/")
		if path == r.URL.Path || h.routes.exact[path] == nil && !strings.HasPrefix(path, "sys/raw/") {
			http.NotFound(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// admitRecovery compares the token before anything of the body is read.
func (h *handler) admitRecovery(q *request) error {
	q.readToken()
	raw, err := h.mode.Raw(q.token)
	if fault.Is(err, fault.Denied) {
		return bare(http.StatusForbidden)
	}
	if err != nil {
		return err
	}
	q.raw = raw
	return q.readBody()
}

func recoveryShown(s ceremony.GenerateRootStatus) (*answer, error) {
	a := rootAnswer(s)
	a.EncodedRootToken = "" // this token is none of root
	return shown(a)
}

func (h *handler) recoveryStatus(ctx context.Context, _ *request) (*answer, error) {
	s, err := h.mode.Status(ctx)
	if err != nil {
		return nil, rootError(err)
	}
	return recoveryShown(s)
}

func (h *handler) recoveryStart(ctx context.Context, q *request) (*answer, error) {
	b, err := q.readRootBody()
	if err != nil {
		return nil, err
	}
	s, err := h.mode.Start(ctx, b.OTP, b.PGPKey)
	if err != nil {
		return nil, rootError(err)
	}
	return recoveryShown(s)
}

func (h *handler) recoveryCancel(ctx context.Context, _ *request) (*answer, error) {
	if err := h.mode.Cancel(ctx); err != nil {
		return nil, rootError(err)
	}
	return done()
}

func (h *handler) recoveryUpdate(ctx context.Context, q *request) (*answer, error) {
	nonce, share, err := q.givenShare(missingInRoot)
	if err != nil {
		return nil, rootError(err)
	}
	defer share.Destroy()
	s, err := h.mode.Give(ctx, nonce, share)
	if err != nil {
		return nil, rootError(err)
	}
	s.OTPLength = 0 // as in the answers of generate-root
	return recoveryShown(s)
}

type rawAnswer struct {
	Value string `json:"value"`
}

// encodingBase64 is how entries travel that are no text.
const encodingBase64 = "base64"

func checkEncoding(name string) error {
	if name != "" && name != encodingBase64 {
		return fault.New(fault.Invalid, "encoding %q is unknown: leave it away for text, or give base64", name)
	}
	return nil
}

// rawRead shows an entry: as text or, with ?encoding=base64, whatever it is. Nothing is guessed: an entry that is
// no text would not survive being shown as one.
func (h *handler) rawRead(ctx context.Context, q *request) (*answer, error) {
	encoding := q.query.Get("encoding")
	if err := checkEncoding(encoding); err != nil {
		return nil, err
	}
	value, err := q.raw.Get(ctx, q.rest)
	switch {
	case fault.Is(err, fault.NotFound):
		return done()
	case err != nil:
		return nil, err
	case encoding == encodingBase64:
		return shown(rawAnswer{base64.StdEncoding.EncodeToString(value)})
	case !utf8.Valid(value):
		return nil, fault.New(fault.Invalid, "the entry is not text: read it with encoding=base64")
	}
	return shown(rawAnswer{string(value)})
}

func (h *handler) rawList(ctx context.Context, q *request) (*answer, error) {
	prefix := q.rest
	if prefix == "/" {
		prefix = ""
	}
	names, err := q.raw.List(ctx, prefix)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	return shown(keysAnswer{names})
}

// nothingShown is Vault's answer to writes of raw entries.
func nothingShown() (*answer, error) { return shown(json.RawMessage("null")) }

// rawWrite overwrites an entry. One that is not there is made only where the client says how it is to be stored: so a
// mistyped path is noticed.
func (h *handler) rawWrite(ctx context.Context, q *request) (*answer, error) {
	data, err := q.object()
	if err != nil {
		return nil, err
	}
	value, err := readRawValue(field.Map(data))
	if err != nil {
		return nil, err
	}
	if _, given := data["compression_type"]; !given {
		_, err := q.raw.Get(ctx, q.rest)
		if fault.Is(err, fault.NotFound) {
			return nil, fault.New(fault.Invalid,
				"cannot figure out compression type because entry does not exist; to make a new one give compression_type=none")
		}
		if err != nil && !fault.Is(err, fault.Internal) { // a damaged entry can be overwritten: that is what this is for
			return nil, err
		}
	}
	if err := q.raw.Put(ctx, q.rest, value); err != nil {
		return nil, err
	}
	return nothingShown()
}

func readRawValue(f field.Map) ([]byte, error) {
	var text, encoding, compression string
	for name, into := range map[string]*string{"value": &text, "encoding": &encoding, "compression_type": &compression} {
		if err := f.Text(name, into); err != nil {
			return nil, err
		}
	}
	if err := checkEncoding(encoding); err != nil {
		return nil, err
	}
	switch _, given := f["value"]; {
	case !given:
		return nil, fault.New(fault.Invalid, "missing required field 'value'")
	case compression != "" && compression != "none":
		return nil, fault.New(fault.Invalid, "compression_type %q is not supported: entries are stored as they are; give none", compression)
	case encoding == "":
		return []byte(text), nil
	}
	value, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fault.New(fault.Invalid, "'value' is not valid base64")
	}
	return value, nil
}

func (h *handler) rawDelete(ctx context.Context, q *request) (*answer, error) {
	if err := q.raw.Delete(ctx, q.rest); err != nil {
		return nil, err
	}
	return nothingShown()
}
