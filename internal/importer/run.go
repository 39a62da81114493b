package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// Options are those of a run.
type Options struct {
	Source, Destination Server
	Report              *Report // filled; the addresses are the caller's

	DryRun         bool // read and compare only
	Overwrite      bool // replace what differs
	PasswordHashes bool // read hashes of userpass by sys/raw of the source
	Gap            int  // most empty versions written to keep the numbers of a secret
	Workers        int  // secrets that are copied at the same time

	Now      func() time.Time
	Rand     io.Reader
	Progress func(string) // nil: none
}

// run is a run of an import.
type run struct {
	Options
	from, to side

	mu sync.Mutex // guards the items of the report
}

// ErrSameServer is the refusal of an import of a server into itself.
var ErrSameServer = errors.New("the source and the destination are the same cluster: give the address of each")

// Run imports. The report is complete, also with an error: that says why the run ended early, and
// the next run continues.
func Run(ctx context.Context, o Options) (err error) {
	r := &run{Options: o, from: side{"source", o.Source}, to: side{"destination", o.Destination}}
	if r.Workers < 1 {
		r.Workers = 1
	}
	o.Report.Started, o.Report.DryRun, o.Report.Items = o.Now(), o.DryRun, []Item{}
	defer func() { o.Report.finish(o.Now(), err) }()
	for _, step := range []func(*run, context.Context) error{
		(*run).introduce, policies, passwordPolicies, authMethods, engines, others,
	} {
		if err := step(r, ctx); err != nil {
			return err
		}
	}
	return nil
}

// introduce proves both tokens before anything is changed.
func (r *run) introduce(ctx context.Context) error {
	for i, s := range []side{r.from, r.to} {
		info := []*ServerInfo{&r.Report.Source, &r.Report.Destination}[i]
		if found, err := s.read(ctx, "auth/token/lookup-self", nil, &struct{}{}); err != nil || !found {
			if err == nil {
				err = fmt.Errorf("the %s does not show the token that was given", s.name)
			}
			return err
		}
		var status struct {
			ClusterID string `json:"cluster_id"`
			Version   string `json:"version"`
		}
		if _, err := s.read(ctx, "sys/seal-status", nil, &status); err != nil {
			return err
		}
		info.ClusterID, info.Version = status.ClusterID, status.Version
	}
	if r.Report.Source.ClusterID == r.Report.Destination.ClusterID {
		return ErrSameServer
	}
	return nil
}

func (r *run) say(format string, args ...any) {
	if r.Progress != nil {
		r.Progress(printable(fmt.Sprintf(format, args...)))
	}
}

// add records an item.
func (r *run) add(i Item) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i.Reason = printable(i.Reason)
	r.Report.Items = append(r.Report.Items, i)
}

// settle records an item with the error that it ended with. It returns the errors that end the run:
// a server that does not answer, or no longer knows the token.
func (r *run) settle(ctx context.Context, i Item, err error) error {
	if err == nil {
		r.add(i)
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var odd *oddity
	switch {
	case errors.As(err, &odd):
		i.Outcome, i.Reason = odd.outcome, odd.reason
	case itemOnly(err):
		if refusedWith(err, http.StatusForbidden) {
			if lost := r.tokensLost(ctx); lost != nil {
				return lost
			}
		}
		i.Outcome, i.Reason = Failed, err.Error()
	default:
		return fmt.Errorf("%s %s: %w", i.Kind, printable(i.Path), err)
	}
	r.add(i)
	return nil
}

func (r *run) tokensLost(ctx context.Context) error {
	for _, s := range []side{r.from, r.to} {
		if _, err := s.call(ctx, http.MethodGet, "auth/token/lookup-self", nil, nil); err != nil {
			return fmt.Errorf("the token is no longer valid: %w", err)
		}
	}
	return nil
}

// oddity ends an item with an outcome of its own.
type oddity struct{ outcome, reason string }

func (o *oddity) Error() string { return o.reason }

func left(format string, args ...any) error { return &oddity{Left, fmt.Sprintf(format, args...)} }

func differs(format string, args ...any) error { return &oddity{Differs, fmt.Sprintf(format, args...)} }

// clash is the outcome of something that exists and differs: nil with Overwrite.
func (r *run) clash(format string, args ...any) error {
	if r.Overwrite {
		return nil
	}
	return differs(format, args...)
}
