package tracing

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// exporter reports failures of OpenTelemetry's OTLP exporter to the server's log: the SDK reports
// them to a global handler only.
type exporter struct {
	sdk.SpanExporter
	log    *slog.Logger
	failed bool // the last export; only changes are logged
}

// newExporter reads OpenTelemetry's variables; nil means that the environment asks for no traces.
func newExporter(getenv func(string) string, log *slog.Logger) (*exporter, error) {
	env := func(name string) string {
		if v := getenv("OTEL_EXPORTER_OTLP_TRACES_" + name); v != "" {
			return v
		}
		return getenv("OTEL_EXPORTER_OTLP_" + name)
	}
	endpoint := getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	if base := getenv("OTEL_EXPORTER_OTLP_ENDPOINT"); endpoint == "" && base != "" {
		endpoint = strings.TrimSuffix(base, "/") + "/v1/traces"
	}
	if endpoint == "" || strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") ||
		getenv("OTEL_TRACES_EXPORTER") == "none" {
		return nil, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("tracing: OTEL_EXPORTER_OTLP_ENDPOINT must be a URL, such as http://127.0.0.1:4318")
	}
	options, err := exporterOptions(endpoint, env)
	if err != nil {
		return nil, err
	}
	inner, err := otlptracehttp.New(context.Background(), options...)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	return &exporter{SpanExporter: inner, log: log}, nil
}

func exporterOptions(endpoint string, env func(string) string) ([]otlptracehttp.Option, error) {
	options := []otlptracehttp.Option{
		otlptracehttp.WithEndpointURL(endpoint), otlptracehttp.WithEncoding(otlptracehttp.EncodingJSON),
		otlptracehttp.WithHeaders(headers(env("HEADERS"))),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{
			Enabled: true, InitialInterval: time.Second, MaxInterval: 5 * time.Second, MaxElapsedTime: 20 * time.Second,
		}),
	}
	switch env("PROTOCOL") {
	case "grpc":
		return nil, errors.New("tracing: OTEL_EXPORTER_OTLP_PROTOCOL=grpc is not supported: " +
			"unset it, and set the endpoint to the collector's HTTP port (4318)")
	case "http/protobuf":
		options = append(options, otlptracehttp.WithEncoding(otlptracehttp.EncodingProtobuf))
	}
	if ms, err := strconv.Atoi(env("TIMEOUT")); err == nil && ms > 0 {
		options = append(options, otlptracehttp.WithTimeout(time.Duration(ms)*time.Millisecond))
	}
	conf, err := trust(env("CERTIFICATE"))
	if conf != nil {
		options = append(options, otlptracehttp.WithTLSClientConfig(conf))
	}
	return options, err
}

func headers(text string) map[string]string {
	all := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		if name, value, ok := strings.Cut(pair, "="); ok {
			if plain, err := url.PathUnescape(strings.TrimSpace(value)); err == nil {
				value = plain
			}
			all[strings.TrimSpace(name)] = value
		}
	}
	return all
}

func trust(file string) (*tls.Config, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("tracing: OTEL_EXPORTER_OTLP_CERTIFICATE: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tracing: OTEL_EXPORTER_OTLP_CERTIFICATE: %s holds no certificate in PEM", file)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// ExportSpans sends spans. It logs when spans begin to be lost and when the collector accepts them
// again.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && !e.failed:
		e.log.Warn("spans are lost: the collector does not accept them", "spans", len(spans), "error", err)
	case err == nil && e.failed:
		e.log.Info("the collector accepts spans again")
	}
	e.failed = err != nil
	return nil
}
