package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/sealgate/sealgate/internal/mount"
)

// backend hands a request to the mount that its path is in. Where the mount was changed while the request was under way, it is routed
// again: a client never learns that somebody tuned a mount.
func (h *handler) backend(ctx context.Context, q *request) (*answer, error) {
	var data map[string]any
	var err error
	switch q.op {
	case mount.Patch:
		if err := q.checkPatchType(); err != nil {
			return nil, err
		}
		fallthrough
	case mount.Create, mount.Update:
		if data, err = q.object(); err != nil {
			return nil, err
		}
	}
	for {
		backend, _, rest, err := q.state.Mounts().Route(q.path)
		if err != nil {
			return nil, err
		}
		a, err := backend.Handle(ctx, &mount.Request{Operation: q.op, Path: rest, Data: data, Query: q.query, Identity: q.identity})
		if err == nil {
			return backendAnswer(a)
		}
		if !errors.Is(err, mount.ErrChanged) || ctx.Err() != nil {
			return nil, err
		}
		q.state.Mounts().Settle()
	}
}

// backendAnswer gives what a backend answers its form.
func backendAnswer(a *mount.Response) (*answer, error) {
	switch {
	case a == nil:
		return nil, nil
	case a.Status == http.StatusNotFound && a.Data == nil && a.Warnings == nil:
		return nil, bare(http.StatusNotFound)
	}
	return &answer{status: a.Status, data: a.Data, lease: a.LeaseDuration, warnings: a.Warnings}, nil
}
