package api

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/recovery"
)

// Who holds the shares, and what is kept of ceremonies: backups of encrypted shares, holders, transcripts.

type backupAnswer struct {
	Keys       map[string][]string `json:"keys"` // by fingerprint, in hexadecimal
	KeysBase64 map[string][]string `json:"keys_base64"`
	Nonce      string              `json:"nonce"`
}

// backup shows the encrypted shares that a rekey kept.
func (h *handler) backup(ctx context.Context, q *request) (*answer, error) {
	b, err := h.Node.Ceremonies().Backup(ctx, q.route.Target)
	if err != nil {
		return nil, err
	}
	a := backupAnswer{Keys: b.Keys, KeysBase64: map[string][]string{}, Nonce: b.Nonce}
	for fingerprint, texts := range b.Keys {
		for _, text := range texts {
			message, err := hex.DecodeString(text)
			if err != nil {
				return nil, fmt.Errorf("api: the backup for %s: %w", fingerprint, err)
			}
			a.KeysBase64[fingerprint] = append(a.KeysBase64[fingerprint], base64.StdEncoding.EncodeToString(message))
		}
	}
	return shown(a)
}

func (h *handler) deleteBackup(ctx context.Context, q *request) (*answer, error) {
	if err := h.Node.Ceremonies().DeleteBackup(ctx, q.route.Target); err != nil {
		return nil, err
	}
	return done()
}

type holdersAnswer struct {
	Created    string         `json:"created"`
	Generation uint64         `json:"generation"`
	Holders    []holderAnswer `json:"holders"`
	Shares     int            `json:"shares"`
	Target     string         `json:"target"`
	Threshold  int            `json:"threshold"`
}

type holderAnswer struct {
	LastProven string `json:"last_proven,omitempty"` // not there: never, since the share was made
	Name       string `json:"name"`
	Number     int    `json:"number"`
}

// holders lists who has which share, below the name of what the shares are of.
func (h *handler) holders(ctx context.Context, _ *request) (*answer, error) {
	l, err := h.Node.Ceremonies().Holders(ctx)
	if err != nil {
		return nil, err
	}
	a := holdersAnswer{
		Created: moments(l.Created), Generation: l.Generation, Holders: []holderAnswer{},
		Shares: l.Shares, Target: l.Target, Threshold: l.Threshold,
	}
	for _, one := range l.Holders {
		a.Holders = append(a.Holders, holderAnswer{LastProven: moments(one.LastProven), Name: one.Name, Number: one.Number})
	}
	return shown(map[string]holdersAnswer{l.Target: a})
}

// moments renders a time; the zero time is none.
func moments(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

type proofAnswer struct {
	Proven     bool   `json:"proven"`
	Target     string `json:"target"`
	Generation uint64 `json:"generation"`
	Number     int    `json:"number"`
	Name       string `json:"name"`
}

// prove tells the holder of a share whether it is still good. It authorises nothing.
func (h *handler) prove(ctx context.Context, q *request) (*answer, error) {
	_, share, err := q.givenShare(missing{})
	if err != nil {
		return nil, err
	}
	defer share.Destroy()
	p, err := h.Node.Ceremonies().Prove(ctx, share)
	if err != nil {
		return nil, err
	}
	return shown(proofAnswer{Proven: true, Target: p.Target, Generation: p.Generation, Number: p.Number, Name: p.Name})
}

type keysAnswer struct {
	Keys []string `json:"keys"`
}

// transcripts lists the records of ceremonies, oldest first.
func (h *handler) transcripts(ctx context.Context, _ *request) (*answer, error) {
	keys, err := h.Node.Ceremonies().Transcripts(ctx)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return done()
	}
	return shown(keysAnswer{keys})
}

func (h *handler) transcript(ctx context.Context, q *request) (*answer, error) {
	record, err := h.Node.Ceremonies().Transcript(ctx, strings.TrimSuffix(q.rest, "/"))
	if fault.Is(err, fault.NotFound) {
		return done()
	}
	if err != nil {
		return nil, err
	}
	return shown(struct {
		Record json.RawMessage `json:"record"`
	}{record})
}

// exportTranscript gives the whole chain, with the key to verify it.
func (h *handler) exportTranscript(ctx context.Context, _ *request) (*answer, error) {
	chain, err := h.Node.Ceremonies().TranscriptExport(ctx)
	if err != nil {
		return nil, err
	}
	return shown(chain)
}

// decodeToken undoes the encoding of generate-root. It knows no token: whoever has both parts could do it alone.
func (h *handler) decodeToken(_ context.Context, q *request) (*answer, error) {
	data, err := q.object()
	if err != nil {
		return nil, err
	}
	var encoded, otp string
	f := field.Map(data)
	if err := f.Text("encoded_token", &encoded); err != nil {
		return nil, err
	}
	if err := f.Text("otp", &otp); err != nil {
		return nil, err
	}
	if encoded == "" || otp == "" {
		return nil, fault.New(fault.Invalid, "missing required field: encoded_token and otp are both needed")
	}
	token, err := recovery.DecodeToken(encoded, otp)
	if err != nil {
		return nil, fault.New(fault.Invalid, "%v", err)
	}
	return shown(struct {
		Token string `json:"token"`
	}{token})
}
