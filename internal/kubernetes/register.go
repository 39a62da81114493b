// Package kubernetes labels the server's pod with the state of the server, so that a Service can
// select the active node:
//
//	vault-active, vault-sealed, vault-initialized, vault-perf-standby: "true" or "false"
//	vault-version
//
// It uses the HTTP API with the pod's service account, which needs "patch" on pods. It writes the
// labels at the start and when the state changes, with retries, and once more when the server stops
// (not active, sealed). A pod that was killed keeps its labels until its next start.
package kubernetes

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
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// serviceAccount is the folder in which Kubernetes mounts the credentials of a pod.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

// Times. The state is polled, because reading it is cheap.
const (
	pollEvery  = 250 * time.Millisecond
	callTime   = 5 * time.Second
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// ErrOutside means that the process does not run in a pod.
var ErrOutside = errors.New("kubernetes: not in a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")

// State is the state that the labels show.
type State struct{ Active, Sealed, Initialized, PerfStandby bool }

// Options of a registration.
type Options struct {
	Namespace, Pod string
	Prefix         string // of the labels' names; "" = "vault"
	Version        string // of the program
	State          func() State
	Getenv         func(string) string
	Folder         string // of the service account; "" = Kubernetes' default
	Log            *slog.Logger
}

// Registration maintains the labels of one pod.
type Registration struct {
	o      Options
	url    string
	client *http.Client
}

// New reads the address and CA of the API. It makes no request.
func New(o Options) (*Registration, error) {
	if o.Prefix == "" {
		o.Prefix = "vault"
	}
	if o.Folder == "" {
		o.Folder = serviceAccount
	}
	host, port := o.Getenv("KUBERNETES_SERVICE_HOST"), o.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, ErrOutside
	}
	pem, err := os.ReadFile(filepath.Join(o.Folder, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("kubernetes: reading the API's CA certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("kubernetes: %s has no certificate", filepath.Join(o.Folder, "ca.crt"))
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
		DisableKeepAlives: true} // calls are rare
	return &Registration{
		o:      o,
		client: &http.Client{Transport: transport, Timeout: callTime},
		url: "https://" + net.JoinHostPort(host, port) + "/api/v1/namespaces/" + url.PathEscape(o.Namespace) + "/pods/" +
			url.PathEscape(o.Pod) +
			"?fieldManager=sealgate",
	}, nil
}

// Run maintains the labels until ctx ends, then writes those of a stopped server and returns.
func (r *Registration) Run(ctx context.Context) {
	var shown *State // the state in the labels; nil: not known
	var retryAt time.Time
	retry := firstRetry
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		now := r.o.State()
		if (shown == nil || *shown != now) && !time.Now().Before(retryAt) {
			if err := r.label(ctx, now); err == nil {
				shown, retry, retryAt = &now, firstRetry, time.Time{}
				r.o.Log.Info("labelled the pod", "pod", r.o.Pod, "active", now.Active, "sealed", now.Sealed)
			} else if ctx.Err() == nil {
				shown, retryAt = nil, time.Now().Add(retry)
				retry = min(2*retry, lastRetry)
				r.o.Log.Warn("labelling the pod failed; will retry", "pod", r.o.Pod, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			r.last()
			return
		case <-ticker.C:
		}
	}
}

// last writes the labels of a stopped server, after ctx has ended.
func (r *Registration) last() {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	if err := r.label(ctx, State{Sealed: true}); err != nil {
		r.o.Log.Warn("resetting the labels of the pod failed", "pod", r.o.Pod, "error", err)
	}
}

// labels are the labels of a state.
func (r *Registration) labels(s State) map[string]string {
	return map[string]string{
		r.o.Prefix + "-active": strconv.FormatBool(s.Active), r.o.Prefix + "-sealed": strconv.FormatBool(s.Sealed),
		r.o.Prefix + "-initialized": strconv.FormatBool(s.Initialized), r.o.Prefix +
			"-perf-standby": strconv.FormatBool(s.PerfStandby),
		r.o.Prefix + "-version": labelValue(r.o.Version),
	}
}

var notInLabels = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// labelValue converts a text to a valid label value: up to 63 characters that begin and end with a
// letter or digit.
func labelValue(text string) string {
	text = notInLabels.ReplaceAllString(text, "-")
	return strings.Trim(text[:min(len(text), 63)], "-_.")
}

// label writes the labels with a JSON merge patch (RFC 7396), which keeps all other labels.
func (r *Registration) label(ctx context.Context, s State) error {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": r.labels(s)}})
	if err != nil {
		return err
	}
	token, err := os.ReadFile(filepath.Join(r.o.Folder, "token")) // read each time: Kubernetes replaces it
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, r.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("Content-Type", "application/merge-patch+json")
	req.Header.Set("Accept", "application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || resp.StatusCode == http.StatusOK {
		return err
	}
	return fmt.Errorf("%s: %s%s", resp.Status, reason(answer), remedies[resp.StatusCode])
}

var remedies = map[int]string{
	http.StatusUnauthorized: "; the API does not accept the service account's token",
	http.StatusForbidden:    `; give the service account a role with "patch" on pods`,
	http.StatusNotFound:     "; set namespace and pod_name (VAULT_K8S_NAMESPACE, VAULT_K8S_POD_NAME) to those of this pod",
}

// reason is the message in the API's response.
func reason(answer []byte) string {
	var status struct{ Message string }
	if err := json.Unmarshal(answer, &status); err != nil || status.Message == "" {
		return "no reason given"
	}
	return status.Message
}
