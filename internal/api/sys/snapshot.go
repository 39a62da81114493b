package sys

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/storage/snapshot"
	"github.com/sealgate/sealgate/recovery"
)

// snapshotRoutes copy any storage into a file and back. They have the paths that backup scripts
// use.
var snapshotRoutes = []api.Route{
	{Methods: api.Get, Path: "sys/storage/raft/snapshot", Capability: policy.Read, Style: api.BareStyle,
		Duration: api.Transfer,
		Handle:   saveSnapshot},
	{Methods: api.Write, Path: "sys/storage/raft/snapshot", Capability: policy.Update, Style: api.BareStyle,
		Duration: api.Transfer, Handle: restoreSnapshot},
	{Methods: api.Write, Path: "sys/storage/raft/snapshot-force", Capability: policy.Update, Style: api.BareStyle,
		Duration: api.Transfer, Quorum: recovery.PurposeAuthorizeRestore, Handle: restoreSnapshot},
	{Methods: api.Write, Path: "sys/storage/raft/snapshot-init", Access: api.AlwaysOpen, Style: api.BareStyle,
		Lifecycle: true, Duration: api.Transfer, Handle: restoreEmpty},
	{Methods: api.Get, Path: "sys/storage/raft/configuration", Capability: policy.Read, Here: true,
		Handle: noRaft},
	{Methods: api.Write, Path: "sys/storage/raft/join", Body: api.SmallBody, Access: api.Open,
		Style: api.BareStyle, Here: true,
		Handle: noRaft},
	{Methods: api.Write, Path: "sys/storage/raft/remove-peer", Body: api.SmallBody, Capability: policy.Update, Here: true,
		Handle: noRaft},
	{Methods: api.Get, Path: "sys/storage/raft/autopilot/state", Capability: policy.Read, Here: true,
		Handle: noRaft},
	{Methods: api.Get, Path: "sys/storage/raft/autopilot/configuration", Capability: policy.Read, Here: true,
		Handle: noRaft},
	{Methods: api.Write, Path: "sys/storage/raft/autopilot/configuration", Body: api.SmallBody, Capability: policy.Update,
		Here: true, Handle: noRaft},
}

// emptying is true while a body for an empty server is received: a stranger can send one.
var emptying atomic.Bool

// noRaft answers paths that only raft storage has.
func noRaft(_ context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	return nil, fault.New(fault.Invalid, "raft storage is not in use")
}

// saveSnapshot sends the archive while it is made. Where it cannot be completed, the connection is
// cut, so that no client takes it for complete.
func saveSnapshot(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	ctx, cancel := q.Transfer(ctx)
	defer cancel()
	w := &announced{q: q, h: h}
	skip := q.Query.Get("skip_damaged") == "true" || q.HTTP.Header.Get(snapshot.SkipHeader) == "true"
	_, err := h.Node.Snapshot(ctx, w, skip)
	switch {
	case err == nil:
		return &api.Answer{}, nil
	case !q.Sent:
		return nil, err
	}
	h.Log.Error("a snapshot could not be sent to its end", "request_id", q.ID(), "error", err)
	q.Truncated = true
	return &api.Answer{}, nil
}

// announced sends the headers with the first byte: until then an error can still be answered.
type announced struct {
	q *api.Request
	h *api.Handler
}

func (w *announced) Write(b []byte) (int, error) {
	if q := w.q; !q.Sent {
		header := q.Out.Header()
		header["Content-Type"] = []string{"application/gzip"}
		header["Content-Disposition"] = []string{"attachment"}
		header["X-Vault-Raw-Error"] = []string{"true"}
		api.SetHeaders(header, q.Front, http.StatusOK)
		q.Sent, q.Status = true, http.StatusOK
		q.Out.WriteHeader(http.StatusOK)
	}
	return w.q.Out.Write(b)
}

// restoreSnapshot replaces everything by the archive in the body.
func restoreSnapshot(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	ctx, cancel := q.Transfer(ctx)
	defer cancel()
	f, err := spool(q)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_, err = h.Node.Restore(ctx, f, q.Path == "sys/storage/raft/snapshot-force", q.AuditDone)
	return nil, err
}

// restoreEmpty fills the storage of a server that is not initialised. Like sys/init it needs no
// token, and it takes one body at a time.
func restoreEmpty(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	initialized, err := h.Node.Initialized(ctx)
	if err != nil {
		return nil, err
	}
	if initialized {
		return nil, fault.New(fault.Invalid, "Vault is already initialized")
	}
	if !emptying.CompareAndSwap(false, true) {
		return nil, fault.New(fault.Unavailable, "another restore is in progress; wait until it has ended")
	}
	defer emptying.Store(false)
	ctx, cancel := q.Transfer(ctx)
	defer cancel()
	f, err := spool(q)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_, err = node.RestoreEmpty(ctx, h.Node, f)
	return nil, err
}

// spool stores the archive in a file without a name: all of it is checked before anything is
// changed. The caller closes it.
func spool(q *api.Request) (*os.File, error) {
	if q.HTTP.Body == nil {
		return nil, fault.New(fault.Invalid, "the body must be a snapshot")
	}
	f, err := os.CreateTemp("", "sealgate-restore-")
	if err != nil {
		return nil, errSpool(err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(errSpool(err), f.Close())
	}
	n, err := io.Copy(f, io.LimitReader(q.HTTP.Body, api.MaxSnapshot+1))
	switch {
	case err != nil && isPath(err):
		err = errSpool(err)
	case err != nil:
		err = fault.Wrap(err, fault.Invalid, "the body could not be read: it ended early, or came too slowly; "+
			"nothing was changed")
	case n > api.MaxSnapshot:
		err = api.TooLarge(api.MaxSnapshot)
	default:
		if _, err = f.Seek(0, io.SeekStart); err != nil {
			err = errSpool(err)
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func isPath(err error) bool {
	var path *os.PathError
	return errors.As(err, &path)
}

func errSpool(err error) error {
	return fault.Wrap(err, fault.Unavailable, "nothing was changed: the server has no room to check the snapshot in "+
		"(%v); give it a folder for temporary files by TMPDIR", err)
}
