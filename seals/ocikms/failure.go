package ocikms

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/oracle/oci-go-sdk/v60/common"

	"github.com/sealgate/sealgate/seals"
)

// remedy maps an answer to a class and the operator's action. Codes:
// https://docs.oracle.com/iaas/Content/API/References/apierrors.htm
type remedy struct {
	status    int
	operation string // "" for any
	class     seals.Class
	text      string
}

const (
	checkReachable = "check that the vault's endpoints are reachable from this host"

	enable = "enable the key again: oci kms management key enable"
	recall = "cancel its deletion: oci kms management key cancel-deletion"
)

var remedies = []remedy{
	{401, "", seals.Denied, "correct the API key or the dynamic group of this instance, and check the host's clock"},
	{403, "", seals.Denied, "allow the user or the dynamic group to \"use keys\" in the key's compartment"},
	{404, "", seals.Denied, "allow the user or the dynamic group to \"use keys\" in the key's compartment, or " +
		"correct key_id and " +
		"the endpoints; the service answers a missing and a forbidden key alike"},
	{409, "", seals.KeyDisabled, enable},
	{429, "", seals.Throttled, "reduce the load of other clients of the vault, or wait"},
	{400, "decrypt", seals.Corrupt, "restore the stored seal record from a backup"},
}

// serviceError finds an answer of the service in an error.
func serviceError(err error) (common.ServiceError, bool) {
	for ; err != nil; err = errors.Unwrap(err) {
		if s, ok := common.IsServiceError(err); ok {
			return s, true
		}
	}
	return nil, false
}

// classify makes a failure of an error of the wrapper or the client.
func (w *Wrapper) classify(operation string, err error) *seals.Failure {
	var f *seals.Failure
	if errors.As(err, &f) {
		return f
	}
	if s, ok := serviceError(err); ok {
		return w.refused(operation, s)
	}
	switch text := err.Error(); {
	case strings.Contains(text, "message authentication failed"), strings.Contains(text, "base64"),
		strings.Contains(text, "invalid key size"),
		strings.Contains(text, "failed to create cipher"):
		return seals.Fail(seals.Corrupt, errors.New("the answer fails its authentication"),
			"restore the stored seal record from a backup; if it is intact, check crypto_endpoint")
	case strings.Contains(text, "panicked"): // the wrapper panics on a refused connection
		return seals.Fail(seals.Unreachable, fmt.Errorf("no answer from %s", w.settings.crypto), "%s", checkReachable)
	case strings.Contains(text, "x509: "):
		return seals.Fail(seals.Misconfigured, errors.New("the endpoint's certificate is not trusted"),
			"check for a proxy in between, and add its CA to the system's")
	case strings.Contains(text, "nmarshal"), strings.Contains(text, "invalid character"),
		strings.Contains(text, "unexpected end of JSON"),
		strings.Contains(text, "%!w(<nil>)"): // the wrapper's error for an answer without a version
		return seals.Fail(seals.Corrupt, errors.New("the answer is not one of the service"),
			"check that the endpoints are correct and that no proxy answers in their place")
	case strings.Contains(text, "onfiguration"), strings.Contains(text, "private key"),
		strings.Contains(text, "failed creating"):
		return seals.Fail(seals.Denied, fmt.Errorf("no usable credentials: %.200s", firstLine(text)),
			"add this instance to a dynamic group, or set auth_type_api_key = true and configure an API key in "+
				"OCI_CONFIG_FILE or ~/.oci/config")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return seals.Fail(seals.Unreachable, err, "%s", checkReachable)
	}
	return seals.Fail(seals.Unreachable, fmt.Errorf("%.300s", firstLine(err.Error())), "%s", checkReachable)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// refused classifies an error of the service.
func (w *Wrapper) refused(operation string, s common.ServiceError) *seals.Failure {
	cause := fmt.Errorf("%s with %s: the service answered %d %s: %.200s", operation, w.settings.key,
		s.GetHTTPStatusCode(), s.GetCode(), firstLine(s.GetMessage()))
	if s.GetHTTPStatusCode() == 409 && operation != "get" {
		if f := w.conflict(cause); f != nil {
			return f
		}
	}
	for _, r := range remedies {
		if r.status == s.GetHTTPStatusCode() && (r.operation == "" || r.operation == operation) {
			return seals.Fail(r.class, cause, "%s", r.text)
		}
	}
	if s.GetHTTPStatusCode() >= 500 {
		return seals.Fail(seals.Unreachable, cause, "check the status of the OCI Vault service in the region")
	}
	return seals.Fail(seals.Misconfigured, cause,
		"use an AES or RSA encryption key; the service's answer says what it refuses")
}

// conflict reads the key's state, because the service answers a disabled key and one scheduled for
// deletion alike.
func (w *Wrapper) conflict(cause error) *seals.Failure {
	k, err := w.getKey(context.Background()) // has its own deadline
	if err != nil {
		return nil
	}
	switch stateOf(k.LifecycleState) {
	case "pending deletion":
		if k.TimeOfDeletion != nil {
			cause = fmt.Errorf("%w; the key will be deleted at %s", cause,
				k.TimeOfDeletion.UTC().Format("2006-01-02T15:04:05Z"))
		}
		return seals.Fail(seals.PendingDeletion, cause, recall)
	case "destroyed":
		return seals.Fail(seals.KeyGone, cause, "restore the key from its backup: oci kms management key restore")
	}
	return nil
}
