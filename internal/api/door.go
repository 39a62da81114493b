package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/sealgate/sealgate/internal/doors"
)

// door hands a request to the mount that its path is in. Where the mount was changed while the request was under way, it is routed
// again: a client never learns that somebody tuned a mount.
func (h *handler) door(ctx context.Context, q *request) (*answer, error) {
	var data map[string]any
	var err error
	switch q.op {
	case doors.Patch:
		if err := q.checkPatchType(); err != nil {
			return nil, err
		}
		fallthrough
	case doors.Create, doors.Update:
		if data, err = q.fields(); err != nil {
			return nil, err
		}
	}
	for {
		door, _, rest, err := q.active.Mounts().Route(q.path)
		if err != nil {
			return nil, err
		}
		a, err := door.Handle(ctx, &doors.Request{Operation: q.op, Path: rest, Data: data, Query: q.query, Identity: q.identity})
		if err == nil {
			return doorAnswer(a)
		}
		if !errors.Is(err, doors.ErrChanged) || ctx.Err() != nil {
			return nil, err
		}
		q.active.Mounts().Settle()
	}
}

// doorAnswer gives what a door answers its form.
func doorAnswer(a *doors.Response) (*answer, error) {
	switch {
	case a == nil:
		return nil, nil
	case a.Status == http.StatusNotFound && a.Data == nil && a.Warnings == nil:
		return nil, bare(http.StatusNotFound)
	}
	return &answer{status: a.Status, data: a.Data, lease: a.LeaseDuration, warnings: a.Warnings}, nil
}
