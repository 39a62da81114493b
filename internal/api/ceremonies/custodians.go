package ceremonies

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/recovery"
	chain "github.com/sealgate/sealgate/recovery/transcript"
)

// The shares' holders, and the records of ceremonies: backups of encrypted shares, transcripts.

type backupAnswer struct {
	Keys       map[string][]string `json:"keys"` // by fingerprint, in hexadecimal
	KeysBase64 map[string][]string `json:"keys_base64"`
	Nonce      string              `json:"nonce"`
}

// backup shows the encrypted shares that a rekey kept.
func backup(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	b, err := h.Node.Ceremonies().Backup(ctx, q.Route.Target)
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
	return api.Show(a)
}

func deleteBackup(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	if err := h.Node.Ceremonies().DeleteBackup(ctx, q.Route.Target); err != nil {
		return nil, err
	}
	return api.Done()
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
	LastProven string `json:"last_proven,omitempty"` // absent: never, since the share was made
	Name       string `json:"name"`
	Number     int    `json:"number"`
}

// holders lists the holder of each share, by the target of the shares.
func holders(ctx context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	l, err := h.Node.Ceremonies().Holders(ctx)
	if err != nil {
		return nil, err
	}
	a := holdersAnswer{
		Created: formatTime(l.Created), Generation: l.Generation, Holders: []holderAnswer{},
		Shares: l.Shares, Target: l.Target, Threshold: l.Threshold,
	}
	for _, one := range l.Holders {
		a.Holders = append(a.Holders, holderAnswer{LastProven: formatTime(one.LastProven), Name: one.Name,
			Number: one.Number})
	}
	return api.Show(map[string]holdersAnswer{l.Target: a})
}

// formatTime renders a time; the zero time is "".
func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

type ProofAnswer struct {
	Proven     bool   `json:"proven"`
	Target     string `json:"target"`
	Generation uint64 `json:"generation"`
	Number     int    `json:"number"`
	Name       string `json:"name"`
}

// prove checks a share for its holder. It authorises nothing.
func prove(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	_, share, err := givenShare(q, missing{})
	if err != nil {
		return nil, err
	}
	defer share.Destroy()
	p, err := h.Node.Ceremonies().Prove(ctx, share)
	if err != nil {
		return nil, err
	}
	return api.Show(ProofAnswer{Proven: true, Target: p.Target, Generation: p.Generation, Number: p.Number, Name: p.Name})
}

// transcripts lists the records of ceremonies, oldest first.
func transcripts(ctx context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	keys, err := h.Node.Ceremonies().Transcripts(ctx)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return api.Done()
	}
	return api.Keys(keys)
}

func transcript(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	record, err := h.Node.Ceremonies().Transcript(ctx, strings.TrimSuffix(q.Rest, "/"))
	if fault.Is(err, fault.NotFound) {
		return api.Done()
	}
	if err != nil {
		return nil, err
	}
	signatures, err := ceremony.CoSignatures(ctx, h.Node.Ceremonies(), strings.TrimSuffix(q.Rest, "/"))
	if err != nil {
		return nil, err
	}
	return api.Show(struct {
		Record       json.RawMessage     `json:"record"`
		CoSignatures []chain.CoSignature `json:"co_signatures,omitempty"`
	}{record, signatures})
}

// coSign stores a person's signature of a record.
func coSign(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	var name, signature, public string
	f := field.Map(data)
	if err := errors.Join(f.Text("name", &name), f.Text("signature", &signature),
		f.Text("public_key", &public)); err != nil {
		return nil, err
	}
	if name == "" || signature == "" {
		return nil, fault.New(fault.Invalid, "missing required field: name and signature are both needed")
	}
	print, err := ceremony.CoSign(ctx, h.Node.Ceremonies(), q.Rest, name, signature, public)
	if err != nil {
		return nil, err
	}
	return api.Show(struct {
		Fingerprint string `json:"fingerprint"`
	}{print})
}

// exportTranscript returns the whole chain, with the key to verify it.
func exportTranscript(ctx context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	chain, err := h.Node.Ceremonies().TranscriptExport(ctx)
	if err != nil {
		return nil, err
	}
	return api.Show(chain)
}

// decodeToken decodes a token of generate-root. It needs no token, because a client that has both
// parts can decode it on its own.
func decodeToken(_ context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	data, err := q.Object()
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
	return api.Show(struct {
		Token string `json:"token"`
	}{token})
}
