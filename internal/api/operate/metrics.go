package operate

import (
	"bytes"
	"context"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/metrics"
)

// showMetrics answers in JSON or, with ?format=prometheus or by the header Accept, in Prometheus's
// text format.
func showMetrics(_ context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	s := h.Shared
	format := q.Query.Get("format")
	if format == "" && bytes.Contains([]byte(q.HTTP.Header.Get("Accept")), []byte("openmetrics-text")) {
		format = "prometheus"
	}
	switch format {
	case "":
		return api.Show(s.Metrics.Summary())
	case "prometheus":
	default:
		return nil, fault.New(fault.Invalid, "metric response format %q unknown: leave it out for JSON, or give prometheus",
			format)
	}
	if !s.Prometheus {
		return nil, fault.New(fault.Invalid, "prometheus is not enabled: telemetry.prometheus_retention_time is 0")
	}
	var b bytes.Buffer
	if err := s.Metrics.WritePrometheus(&b); err != nil {
		return nil, err
	}
	q.Out.Header()["Content-Type"] = []string{metrics.ContentType}
	return &api.Answer{Data: api.Opaque(b.Bytes())}, nil
}
