package api

import (
	"context"

	"github.com/sealgate/sealgate/internal/doors"
)

// door hands a request to the mount that its path is in.
func (h *handler) door(ctx context.Context, q *request) (*answer, error) {
	door, _, rest, err := q.active.Mounts().Route(q.path)
	if err != nil {
		return nil, err
	}
	r := &doors.Request{Operation: q.op, Path: rest, Query: q.query, Identity: q.identity}
	switch q.op {
	case doors.Patch:
		if err := q.checkPatchType(); err != nil {
			return nil, err
		}
		fallthrough
	case doors.Create, doors.Update:
		if r.Data, err = q.fields(); err != nil {
			return nil, err
		}
	}
	a, err := door.Handle(ctx, r)
	if a == nil || err != nil {
		return nil, err
	}
	return &answer{data: a.Data, lease: a.LeaseDuration, warnings: a.Warnings}, nil
}
