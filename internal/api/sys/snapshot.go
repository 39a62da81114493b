package sys

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/fault"
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

// restoreSnapshot stores the archive in a file without a name, and checks all of it before it
// changes anything.
func restoreSnapshot(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	ctx, cancel := q.Transfer(ctx)
	defer cancel()
	if q.HTTP.Body == nil {
		return nil, fault.New(fault.Invalid, "the body must be a snapshot")
	}
	f, err := os.CreateTemp("", "sealgate-restore-")
	if err != nil {
		return nil, errSpool(err)
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return nil, errSpool(err)
	}
	n, err := io.Copy(f, io.LimitReader(q.HTTP.Body, api.MaxSnapshot+1))
	switch {
	case err != nil && isPath(err):
		return nil, errSpool(err)
	case err != nil:
		return nil, fault.Wrap(err, fault.Invalid, "the body could not be read: it ended early, or came too slowly; "+
			"nothing was changed")
	case n > api.MaxSnapshot:
		return nil, api.TooLarge(api.MaxSnapshot)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errSpool(err)
	}
	_, err = h.Node.Restore(ctx, f, q.Path == "sys/storage/raft/snapshot-force", q.AuditDone)
	return nil, err
}

func isPath(err error) bool {
	var path *os.PathError
	return errors.As(err, &path)
}

func errSpool(err error) error {
	return fault.Wrap(err, fault.Unavailable, "nothing was changed: the server has no room to check the snapshot in "+
		"(%v); give it a folder for temporary files by TMPDIR", err)
}
