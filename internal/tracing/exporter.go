package tracing

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// exporter sends spans by OTLP/HTTP in its JSON encoding.
type exporter struct {
	url    string
	header http.Header
	client *http.Client
	log    *slog.Logger
	failed bool // the last sending; only what changes is logged
}

// newExporter reads OpenTelemetry's variables; nil means that traces are not asked for.
func newExporter(getenv func(string) string) (*exporter, error) {
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
	if endpoint == "" || strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || getenv("OTEL_TRACES_EXPORTER") == "none" {
		return nil, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("tracing: OTEL_EXPORTER_OTLP_ENDPOINT must be a URL, such as http://127.0.0.1:4318")
	}
	if p := env("PROTOCOL"); p == "grpc" {
		return nil, errors.New("tracing: OTEL_EXPORTER_OTLP_PROTOCOL=grpc is not offered: name the collector's HTTP port (4318), and unset the protocol")
	}
	e := &exporter{url: endpoint, header: http.Header{"Content-Type": {"application/json"}}}
	for pair := range strings.SplitSeq(env("HEADERS"), ",") {
		if name, value, ok := strings.Cut(pair, "="); ok {
			if plain, err := url.PathUnescape(strings.TrimSpace(value)); err == nil {
				value = plain
			}
			e.header.Set(strings.TrimSpace(name), value)
		}
	}
	timeout := 10 * time.Second
	if ms, err := strconv.Atoi(env("TIMEOUT")); err == nil && ms > 0 {
		timeout = time.Duration(ms) * time.Millisecond
	}
	conf, err := trust(env("CERTIFICATE"))
	if err != nil {
		return nil, err
	}
	e.client = &http.Client{Timeout: timeout, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, IdleConnTimeout: time.Minute}}
	return e, nil
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

// ExportSpans sends spans, up to three times where the collector asks for patience.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if len(spans) == 0 {
		return nil
	}
	body, err := json.Marshal(encode(spans))
	if err != nil {
		return err
	}
	for wait := time.Second; ; wait *= 2 {
		again, err := e.send(ctx, body)
		if err == nil || !again || wait > 2*time.Second {
			e.tell(err, len(spans))
			return nil // the SDK would print it itself
		}
		select {
		case <-ctx.Done():
			e.tell(ctx.Err(), len(spans))
			return nil
		case <-time.After(wait):
		}
	}
}

// tell logs that spans begin to be lost, and that they arrive again.
func (e *exporter) tell(err error, n int) {
	switch {
	case err != nil && !e.failed:
		e.log.Warn("spans are lost: the collector does not take them", "spans", n, "error", err)
	case err == nil && e.failed:
		e.log.Info("the collector takes spans again")
	}
	e.failed = err != nil
}

func (e *exporter) send(ctx context.Context, body []byte) (again bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	r.Header = e.header.Clone()
	a, err := e.client.Do(r)
	if err != nil {
		return true, err
	}
	defer a.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(a.Body, 64<<10))
	switch a.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		again = true
	}
	if a.StatusCode/100 != 2 {
		return again, fmt.Errorf("the collector answered %s", a.Status)
	}
	return false, nil
}

// Shutdown lets go of the connections.
func (e *exporter) Shutdown(context.Context) error {
	e.client.CloseIdleConnections()
	return nil
}
