package sys

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/node"
)

// health answers load balancers, which ask every second: it reads memory alone.
func health(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	at := h.Now()
	version := func() (api.HealthVersion, bool) {
		v, keep := node.StatusVersionOf(h.Node)
		return api.HealthVersion{Node: v, Second: at.Unix()}, keep
	}
	r, err := h.Statuses.Health.Get(version, func() (api.RenderedHealth, error) {
		s := h.Node.Health()
		return api.RenderedHealth{Health: s, Body: json.RawMessage(healthBody(h, s, at))}, nil
	})
	if err != nil {
		return nil, err
	}
	code, err := healthCode(q, r.Health)
	if err != nil {
		return nil, err
	}
	body := r.Body
	if h.Trail != nil {
		if body, err = warnOfAudit(ctx, h, q, body); err != nil {
			return nil, err
		}
	}
	return &api.Answer{Status: code, Data: body}, nil
}

// warnOfAudit adds warnings of failing audit devices, for clients that may see them.
func warnOfAudit(ctx context.Context, h *api.Handler, q *api.Request, rendered any) (any, error) {
	warnings := h.Trail.Warnings()
	body, ok := rendered.(json.RawMessage)
	if !ok || len(warnings) == 0 || !showsDetail(ctx, h, q) {
		return rendered, nil
	}
	list, err := json.Marshal(warnings)
	body = append(slices.Clone(body[:len(body)-1]), `,"warnings":`...)
	return append(append(body, list...), '}'), err
}

// healthCode returns the status of the answer: the state's, or the one that the query sets for it.
// Sealed and uninitialised come before standby.
func healthCode(q *api.Request, s node.Health) (int, error) {
	active, err1 := code(q, "activecode", http.StatusOK)
	standby, err2 := code(q, "standbycode", http.StatusTooManyRequests)
	sealed, err3 := code(q, "sealedcode", http.StatusServiceUnavailable)
	uninit, err4 := code(q, "uninitcode", http.StatusNotImplemented)
	standbyOK, err5 := q.Flag("standbyok")
	for _, err := range []error{err1, err2, err3, err4, err5} {
		if err != nil {
			return 0, err
		}
	}
	switch {
	case !s.Initialized:
		return uninit, nil
	case s.Sealed:
		return sealed, nil
	case s.Standby && !standbyOK:
		return standby, nil
	}
	return active, nil
}

// code reads a status from the query. A status that is not final in HTTP is refused, because it
// cannot be sent.
func code(q *api.Request, name string, fallback int) (int, error) {
	if q.Query == nil || !q.Query.Has(name) {
		return fallback, nil
	}
	n, err := strconv.Atoi(q.Query.Get(name))
	if err != nil || n < 200 || n > 599 {
		return 0, api.ErrBadParam
	}
	return n, nil
}

// healthBody has every member that clients decode without checking for it.
func healthBody(h *api.Handler, s node.Health, at time.Time) []byte {
	performance, dr := "disabled", "disabled"
	if s.Sealed {
		performance, dr = "unknown", "unknown"
	} else if s.Clustered {
		performance = "primary"
	}
	b := make([]byte, 0, 512)
	b = strconv.AppendBool(append(b, `{"initialized":`...), s.Initialized)
	b = strconv.AppendBool(append(b, `,"sealed":`...), s.Sealed)
	b = strconv.AppendBool(append(b, `,"standby":`...), s.Standby || s.Sealed)
	b = append(b, `,"performance_standby":false,"replication_performance_mode":"`...)
	b = append(append(b, performance...), `","replication_dr_mode":"`...)
	b = append(append(b, dr...), `","server_time_utc":`...)
	b = strconv.AppendInt(b, at.Unix(), 10)
	b = api.AppendString(append(b, `,"version":`...), h.ShownVersion())
	b = api.AppendString(append(b, `,"sealgate_version":`...), h.Version) // ours
	if !s.Sealed {                                                        // ours; a sealed node does not know
		b = strconv.AppendBool(append(b, `,"seal_would_unseal":`...), s.WouldUnseal)
	}
	if s.StorageFailure != "" { // ours
		b = api.AppendString(append(b, `,"storage_failure":`...), string(s.StorageFailure))
	}
	if s.StorageSlow { // ours
		b = append(b, `,"storage_slow":true`...)
	}
	if s.LostCommits { // ours
		b = append(b, `,"storage_lost_commits":true`...)
	}
	if s.FailingSnapshot != "" { // ours: the schedule whose last snapshot failed
		b = api.AppendString(append(b, `,"snapshot_failure":`...), s.FailingSnapshot)
	}
	if !s.KeyDeletion.IsZero() { // ours: an alarm, with the date
		b = api.AppendString(append(b, `,"seal_key_deletion":`...), s.KeyDeletion.UTC().Format(time.RFC3339))
	}
	if s.ClusterName != "" {
		b = api.AppendString(append(b, `,"cluster_name":`...), s.ClusterName)
	}
	if s.ClusterID != "" {
		b = api.AppendString(append(b, `,"cluster_id":`...), s.ClusterID)
	}
	return append(b, '}')
}
