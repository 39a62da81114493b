// Package tracing sends a span of each request to an OpenTelemetry collector, if the environment
// names one.
//
// It guarantees that without OTEL_EXPORTER_OTLP_ENDPOINT (or its variant for traces) there is no
// tracer, no goroutine and no cost; that a slow or unreachable collector costs spans and never
// delays a request; and that spans hold the route, the status and the request id, but no path below
// a mount, no token and no body.
//
// The variables are OpenTelemetry's own. The protocol is OTLP over HTTP, with JSON unless
// OTEL_EXPORTER_OTLP_PROTOCOL is http/protobuf.
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

// FromEnvironment returns a tracer, or nil if the environment asks for none.
func FromEnvironment(getenv func(string) string, version string, log *slog.Logger) (*Tracer, error) {
	e, err := newExporter(getenv, log)
	if e == nil || err != nil {
		return nil, err
	}
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
	return &Tracer{provider: p,
		tracer: p.Tracer("github.com/sealgate/sealgate", trace.WithInstrumentationVersion(version))}, nil
}

// Span is the span of one request. The zero Span records nothing.
type Span struct{ span trace.Span }

// Start begins the span of a request, a child of the span that its headers name.
func (t *Tracer) Start(ctx context.Context, r *http.Request) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	ctx = t.incoming.Extract(ctx, propagation.HeaderCarrier(r.Header))
	ctx, span := t.tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer))
	return ctx, Span{span}
}

// End ends the span. route is an entry of the route table, never the path of the request.
func (s Span) End(route, operation string, requestID fmt.Stringer, status int) {
	if s.span == nil {
		return
	}
	s.span.SetName(operation + " " + route)
	s.span.SetAttributes(
		attribute.String("http.route", "/v1/"+route), attribute.Int("http.response.status_code", status),
		attribute.String("sealgate.operation", operation), attribute.Stringer("sealgate.request_id", requestID))
	if status >= http.StatusInternalServerError {
		s.span.SetStatus(codes.Error, http.StatusText(status))
	}
	s.span.End()
}

// Close sends the remaining spans until ctx ends, and stops the tracer.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}
