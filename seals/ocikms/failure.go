package ocikms

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/oracle/oci-go-sdk/v60/common"

	"github.com/sealgate/sealgate/seals"
)

// remedy is what an operator does about an answer. The codes: https://docs.oracle.com/iaas/Content/API/References/apierrors.htm
type remedy struct {
	status    int
	operation string // "" for any
	class     seals.Class
	text      string
}

const (
	enable = "enable the key again: oci kms management key enable"
	recall = "call its deletion off: oci kms management key cancel-deletion"
)

var remedies = []remedy{
	{401, "", seals.Denied, "correct the API key, or the dynamic group that this instance belongs to, and see whether the host's clock is right"},
	{403, "", seals.Denied, "let the user or the dynamic group \"use keys\" in the key's compartment"},
	{404, "", seals.Denied, "let the user or the dynamic group \"use keys\" in the key's compartment, and correct key_id and the endpoints " +
		"if the key is elsewhere; the service gives the same answer for a key that is gone"},
	{409, "", seals.KeyDisabled, enable},
	{429, "", seals.Throttled, "see which other clients use the vault's limit, or wait"},
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

// classify makes a failure of an error of the wrapper's or of the client's.
func (w *Wrapper) classify(operation string, err error) *seals.Failure {
	var f *seals.Failure
	if errors.As(err, &f) {
		return f
	}
	if s, ok := serviceError(err); ok {
		return w.refused(operation, s)
	}
	switch text := err.Error(); {
	case strings.Contains(text, "message authentication failed"), strings.Contains(text, "base64"), strings.Contains(text, "invalid key size"),
		strings.Contains(text, "failed to create cipher"):
		return seals.Fail(seals.Corrupt, errors.New("what came back fails its authentication"),
			"restore the stored seal record from a backup, or see what stands at crypto_endpoint")
	case strings.Contains(text, "panicked"): // the wrapper's own way to take a refused connection
		return seals.Fail(seals.Unreachable, fmt.Errorf("no answer from %s", w.settings.crypto), "see whether the vault's endpoints are reachable from this host")
	case strings.Contains(text, "x509: "):
		return seals.Fail(seals.Misconfigured, errors.New("the endpoint's certificate is not trusted"),
			"see which proxy is in between, and add its authority to the system's")
	case strings.Contains(text, "nmarshal"), strings.Contains(text, "invalid character"), strings.Contains(text, "unexpected end of JSON"),
		strings.Contains(text, "%!w(<nil>)"): // the wrapper's own words for an answer without a version
		return seals.Fail(seals.Corrupt, errors.New("the answer is none of the service's"),
			"see what stands at the endpoints: a proxy may answer in the service's place")
	case strings.Contains(text, "onfiguration"), strings.Contains(text, "private key"), strings.Contains(text, "failed creating"):
		return seals.Fail(seals.Denied, fmt.Errorf("there are no usable credentials: %.200s", firstLine(text)),
			"give this instance an identity (a dynamic group), or set auth_type_api_key = true and put an API key where OCI_CONFIG_FILE or ~/.oci/config says")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return seals.Fail(seals.Unreachable, err, "see whether the vault's endpoints are reachable from this host")
	}
	return seals.Fail(seals.Unreachable, fmt.Errorf("%.300s", firstLine(err.Error())), "see whether the vault's endpoints are reachable from this host")
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// refused is an answer of the service's.
func (w *Wrapper) refused(operation string, s common.ServiceError) *seals.Failure {
	cause := fmt.Errorf("%s with %s: the service answered %d %s: %.200s", operation, w.settings.key, s.GetHTTPStatusCode(), s.GetCode(), firstLine(s.GetMessage()))
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
		return seals.Fail(seals.Unreachable, cause, "see the state of Oracle's Vault service in the region")
	}
	return seals.Fail(seals.Misconfigured, cause, "see the service's answer; the key must be an AES or RSA key that encrypts")
}

// conflict asks for the key's state where it is in the way: to a disabled key and to one that will be deleted the service gives the same answer.
func (w *Wrapper) conflict(cause error) *seals.Failure {
	k, err := w.getKey(context.Background()) // it has a deadline of its own
	if err != nil {
		return nil
	}
	switch stateOf(k.LifecycleState) {
	case "pending deletion":
		if k.TimeOfDeletion != nil {
			cause = fmt.Errorf("%w; the key will be deleted at %s", cause, k.TimeOfDeletion.UTC().Format("2006-01-02T15:04:05Z"))
		}
		return seals.Fail(seals.PendingDeletion, cause, recall)
	case "destroyed":
		return seals.Fail(seals.KeyGone, cause, "restore the key from its backup: oci kms management key restore")
	}
	return nil
}
