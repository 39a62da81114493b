package sys

import (
	"context"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/node"
)

// rotate adds a term. With "rewrap" it also re-encrypts all data, with "retire" it then destroys
// the older terms; with "compromised" it replaces all keys of the barrier, and does both.
func rotate(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	var rewrap, retire, compromised bool
	var rate int64
	f := field.Map(data)
	for _, err := range []error{
		f.Flag("rewrap", &rewrap), f.Flag("retire", &retire), f.Flag("compromised", &compromised), f.Number("rate", &rate),
	} {
		if err != nil {
			return nil, err
		}
	}
	keys := node.KeysOf(h.Node)
	var job *node.RewrapJob
	switch {
	case compromised:
		job, err = keys.ReplaceCompromised(ctx, int(rate))
	case rewrap:
		job, err = keys.RotateAndRewrap(ctx, int(rate), retire)
	case retire:
		return nil, fault.New(fault.Invalid, `"retire" needs "rewrap": the old terms are in use until all data is rewrapped`)
	default:
		if err := h.Node.Rotate(ctx); err != nil {
			return nil, err
		}
		return api.Done()
	}
	if err != nil {
		return nil, err
	}
	return api.Show(showRewrap(job, node.Keyring{}))
}

func rotateRoot(ctx context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	if err := h.Node.RotateRoot(ctx); err != nil {
		return nil, err
	}
	return api.Done()
}

// rewrapSeals lets every seal wrap the root key again, by the newest version of its key.
func rewrapSeals(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	if err := h.Node.RewrapSeals(ctx, changer(q)); err != nil {
		return nil, err
	}
	return api.Done()
}

type rotationAnswer struct {
	Enabled       bool  `json:"enabled"`
	Interval      any   `json:"interval"` // as in Vault the number 0 for none, else a text such as "24h0m0s"
	MaxOperations int64 `json:"max_operations"`
	MaxBytes      int64 `json:"max_bytes,omitempty"`
}

func rotationConfig(ctx context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	c, err := h.Node.RotationConfig(ctx)
	if err != nil {
		return nil, err
	}
	a := rotationAnswer{Enabled: c.Enabled, Interval: 0, MaxOperations: c.MaxOperations, MaxBytes: c.MaxBytes}
	if c.Interval != 0 {
		a.Interval = c.Interval.String()
	}
	return api.Show(a)
}

// setRotationConfig changes the fields that are given.
func setRotationConfig(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	c, err := h.Node.RotationConfig(ctx)
	if err != nil {
		return nil, err
	}
	f := field.Map(data)
	for _, err := range []error{
		f.Flag("enabled", &c.Enabled), f.Duration("interval", &c.Interval), f.Number("max_operations", &c.MaxOperations),
		f.Number("max_bytes", &c.MaxBytes),
	} {
		if err != nil {
			return nil, err
		}
	}
	if err := h.Node.SetRotationConfig(ctx, c); err != nil {
		return nil, err
	}
	return api.Done()
}

type keyStatusAnswer struct {
	Encryptions uint64       `json:"encryptions"`
	InstallTime string       `json:"install_time"`
	Term        uint32       `json:"term"`
	Limit       uint64       `json:"encryption_limit"`
	Remaining   uint64       `json:"encryptions_remaining"`
	Exact       bool         `json:"exact"`
	Counting    bool         `json:"counting"`
	Terms       []termAnswer `json:"terms"`
}

// termAnswer is one term. Entries and bytes are left out while they are not known.
type termAnswer struct {
	Term        uint32 `json:"term"`
	Active      bool   `json:"active"`
	InstallTime string `json:"install_time"`
	Encryptions uint64 `json:"encryptions"`
	Entries     *int64 `json:"entries,omitempty"`
	Bytes       *int64 `json:"bytes,omitempty"`
}

func keyStatus(_ context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	s, err := h.Node.KeyStatus()
	if err != nil {
		return nil, err
	}
	ring, err := node.KeysOf(h.Node).Keyring()
	if err != nil {
		return nil, err
	}
	a := keyStatusAnswer{Encryptions: s.Encryptions, InstallTime: s.Installed.UTC().Format(time.RFC3339Nano),
		Term: s.Term, Limit: node.MaxEncryptions, Exact: ring.Exact, Counting: ring.Counting, Terms: []termAnswer{}}
	if s.Encryptions < a.Limit {
		a.Remaining = a.Limit - s.Encryptions
	}
	for _, t := range ring.Terms {
		a.Terms = append(a.Terms, showTerm(t, ring.Known))
	}
	return api.Show(a)
}

func showTerm(t node.Term, known bool) termAnswer {
	out := termAnswer{Term: t.KeyStatus.Term, Active: t.Active, Encryptions: t.Encryptions,
		InstallTime: t.Installed.UTC().Format(time.RFC3339Nano)}
	if known {
		out.Entries, out.Bytes = &t.Entries, &t.Bytes
	}
	return out
}
