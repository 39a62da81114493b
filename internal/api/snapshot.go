package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/fault"
)

// snapshotRoutes copy the storage into a file and back, whatever storage it is. They have the paths that backup scripts know.
var snapshotRoutes = []route{
	{Methods: get, Path: "sys/storage/raft/snapshot", Capability: policy.Read, Style: bareStyle, Duration: transfer,
		Handle: (*handler).saveSnapshot},
	{Methods: write, Path: "sys/storage/raft/snapshot", Capability: policy.Update, Style: bareStyle,
		Duration: transfer, Handle: (*handler).restoreSnapshot},
	{Methods: write, Path: "sys/storage/raft/snapshot-force", Capability: policy.Update, Style: bareStyle,
		Duration: transfer, Handle: (*handler).restoreSnapshot},
	{Methods: get, Path: "sys/storage/raft/configuration", Capability: policy.Read, Here: true,
		Handle: (*handler).noRaft},
	{Methods: write, Path: "sys/storage/raft/join", Body: smallBody, Access: anybody, Style: bareStyle, Here: true,
		Handle: (*handler).noRaft},
	{Methods: write, Path: "sys/storage/raft/remove-peer", Body: smallBody, Capability: policy.Update, Here: true,
		Handle: (*handler).noRaft},
	{Methods: get, Path: "sys/storage/raft/autopilot/state", Capability: policy.Read, Here: true,
		Handle: (*handler).noRaft},
	{Methods: get, Path: "sys/storage/raft/autopilot/configuration", Capability: policy.Read, Here: true,
		Handle: (*handler).noRaft},
	{Methods: write, Path: "sys/storage/raft/autopilot/configuration", Body: smallBody, Capability: policy.Update,
		Here: true, Handle: (*handler).noRaft},
}

const (
	snapshotTime = 2 * time.Hour // bounds a transfer, in place of the deadline of other requests
	maxSnapshot  = 64 << 30
)

// noRaft answers for what only a storage of another server has.
func (h *handler) noRaft(context.Context, *request) (*answer, error) {
	return nil, fault.New(fault.Invalid, "raft storage is not in use")
}

// transfer returns the context of a request that may take long, and lifts the connection's deadlines.
func (q *request) transfer(ctx context.Context) (context.Context, context.CancelFunc) {
	out := http.NewResponseController(q.out)
	_ = out.SetReadDeadline(time.Time{}) // where the connection has none there is none to lift
	_ = out.SetWriteDeadline(time.Time{})
	long, cancel := context.WithTimeout(context.WithoutCancel(ctx), snapshotTime)
	stop := context.AfterFunc(q.http.Context(), cancel)
	return long, func() { stop(); cancel() }
}

// saveSnapshot sends the archive as it is made. Its end tells whether it is whole; where it is not, the connection is cut, so that no client takes it for whole.
func (h *handler) saveSnapshot(ctx context.Context, q *request) (*answer, error) {
	ctx, cancel := q.transfer(ctx)
	defer cancel()
	w := &announced{q: q, h: h}
	_, err := h.Node.Snapshot(ctx, w)
	switch {
	case err == nil:
		return &answer{}, nil
	case !q.sent:
		return nil, err
	}
	h.Log.Error("a snapshot could not be sent to its end", "request_id", q.id(), "error", err)
	q.cut = true
	return &answer{}, nil
}

// announced writes the headers before the first byte: until then an error can still be told.
type announced struct {
	q *request
	h *handler
}

func (w *announced) Write(b []byte) (int, error) {
	if q := w.q; !q.sent {
		header := q.out.Header()
		header["Content-Type"] = []string{"application/gzip"}
		header["Content-Disposition"] = []string{"attachment"}
		header["X-Vault-Raw-Error"] = []string{"true"}
		dress(header, q.front, http.StatusOK)
		q.sent, q.status = true, http.StatusOK
		q.out.WriteHeader(http.StatusOK)
	}
	return w.q.out.Write(b)
}

// restoreSnapshot takes the archive into a file that has no name, so that all of it is checked before any of it counts.
func (h *handler) restoreSnapshot(ctx context.Context, q *request) (*answer, error) {
	ctx, cancel := q.transfer(ctx)
	defer cancel()
	if q.http.Body == nil {
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
	n, err := io.Copy(f, io.LimitReader(q.http.Body, maxSnapshot+1))
	switch {
	case err != nil && isPath(err):
		return nil, errSpool(err)
	case err != nil:
		return nil, fault.Wrap(err, fault.Invalid, "the body could not be read: it ended early, or came too slowly; nothing was changed")
	case n > maxSnapshot:
		return nil, tooLarge(maxSnapshot)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errSpool(err)
	}
	_, err = h.Node.Restore(ctx, f, q.path == "sys/storage/raft/snapshot-force")
	return nil, err
}

func isPath(err error) bool {
	var path *os.PathError
	return errors.As(err, &path)
}

func errSpool(err error) error {
	return fault.Wrap(err, fault.Unavailable, "nothing was changed: the server has no room to check the snapshot in (%v); give it a folder for temporary files by TMPDIR", err)
}
