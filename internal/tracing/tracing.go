// Package tracing sends a span of each request to an OpenTelemetry collector, where the environment names one.
//
// It guarantees that without OTEL_EXPORTER_OTLP_ENDPOINT (or its variant for traces) there is no tracer, no goroutine and no
// cost; that a collector which is slow or away costs spans and never a request; and that spans hold the route, the status and the
// request id, and no path behind a mount, no token and no body.
//
// The variables are OpenTelemetry's own: its SDK reads those of sampling, batching and the service's name; those of the
// exporter are read here. The protocol is OTLP by HTTP with JSON (collectors take it at port 4318 as they take protobuf):
// OpenTelemetry's exporter would bring gRPC with it, 8 MB of program and 6 MB of memory for those who do not trace.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Tracer makes spans. A nil Tracer makes none.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	incoming propagation.TraceContext
}

// FromEnvironment returns a tracer where the environment asks for one, else nil.
func FromEnvironment(getenv func(string) string, version string, log *slog.Logger) (*Tracer, error) {
	e, err := newExporter(getenv)
	if e == nil || err != nil {
		return nil, err
	}
	e.log = log
	name := getenv("OTEL_SERVICE_NAME")
	if name == "" {
		name = "sealgate"
	}
	of, err := resource.Merge(resource.Environment(), resource.NewSchemaless(
		attribute.String("service.name", name), attribute.String("service.version", version)))
	if err != nil {
		return nil, fmt.Errorf("tracing: OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	p := sdk.NewTracerProvider(sdk.WithBatcher(e), sdk.WithResource(of))
	return &Tracer{provider: p, tracer: p.Tracer("github.com/sealgate/sealgate", trace.WithInstrumentationVersion(version))}, nil
}

// Span is a request under way. The zero Span is none.
type Span struct{ span trace.Span }

// Start begins the span of a request: a child of the one that its headers name.
func (t *Tracer) Start(ctx context.Context, r *http.Request) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	ctx = t.incoming.Extract(ctx, propagation.HeaderCarrier(r.Header))
	ctx, span := t.tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer))
	return ctx, Span{span}
}

// End ends it. route is a line of the table of routes, never what the client wrote.
func (s Span) End(route, operation, requestID string, status int) {
	if s.span == nil {
		return
	}
	s.span.SetName(operation + " " + route)
	s.span.SetAttributes(
		attribute.String("http.route", "/v1/"+route), attribute.Int("http.response.status_code", status),
		attribute.String("sealgate.operation", operation), attribute.String("sealgate.request_id", requestID))
	if status >= http.StatusInternalServerError {
		s.span.SetStatus(codes.Error, http.StatusText(status))
	}
	s.span.End()
}

// Close sends what is left, as far as ctx allows, and ends everything.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}
