//go:build unix

package localstack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// Region is where CreateKey makes its keys. LocalStack has every region; this one is the region of
// the credentials that Do sends.
const Region = "eu-central-1"

// ErrorType is what AWS and LocalStack name a failure by, such as "NotFoundException".
type ErrorType string

// Error implements error.
func (e ErrorType) Error() string { return "localstack: " + string(e) }

// Do calls an action of KMS as an administrator would: "CreateKey", "DisableKey". An error of KMS
// is an ErrorType.
func (s *Server) Do(action string, in map[string]any) (map[string]any, error) {
	return s.in(Region, action, in)
}

func (s *Server) in(region, action string, in map[string]any) (map[string]any, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodPost, s.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Amz-Target", target+action)
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	// LocalStack reads the account (the key's id) and the region here, and does not look at the
	// signature.
	req.Header.Set("Authorization",
		"AWS4-HMAC-SHA256 Credential=test/20260101/"+region+"/kms/aws4_request, SignedHeaders=host, Signature=none")
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("localstack: %s: %w", action, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &out); err != nil {
			return nil, fmt.Errorf("localstack: %s: status %d: %.200s", action, resp.StatusCode, raw)
		}
	}
	if resp.StatusCode != http.StatusOK {
		kind, _ := out["__type"].(string)
		return out, ErrorType(kind)
	}
	return out, nil
}

// Must is Do for tests.
func (s *Server) Must(t testing.TB, action string, in map[string]any) map[string]any {
	t.Helper()
	out, err := s.Do(action, in)
	if err != nil {
		t.Fatalf("%s %v: %v", action, in, err)
	}
	return out
}

// CreateKey makes a symmetric key and returns its ARN.
func (s *Server) CreateKey(t testing.TB) string {
	t.Helper()
	return arn(t, s.Must(t, "CreateKey", map[string]any{"Description": t.Name()}))
}

// CreateMultiRegionKey makes a multi-Region key with a replica in the other region, and returns
// both ARNs.
func (s *Server) CreateMultiRegionKey(t testing.TB, other string) (primary, replica string) {
	t.Helper()
	primary = arn(t, s.Must(t, "CreateKey", map[string]any{"MultiRegion": true}))
	out := s.Must(t, "ReplicateKey", map[string]any{"KeyId": primary, "ReplicaRegion": other})
	replica, _ = out["ReplicaKeyMetadata"].(map[string]any)["Arn"].(string)
	return primary, replica
}

func arn(t testing.TB, out map[string]any) string {
	t.Helper()
	metadata, _ := out["KeyMetadata"].(map[string]any)
	arn, _ := metadata["Arn"].(string)
	if arn == "" {
		t.Fatalf("localstack: no ARN in %v", out)
	}
	return arn
}
