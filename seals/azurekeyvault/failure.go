package azurekeyvault

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/internal/remote"
)

// deletedError is the cause for a deleted key that can be recovered.
type deletedError struct{ purge time.Time }

// Error implements error.
func (e *deletedError) Error() string {
	if e.purge.IsZero() {
		return "the key was deleted and can be recovered"
	}
	return "the key was deleted and can be recovered until " + e.purge.UTC().Format(time.RFC3339)
}

// reply is an error of the vault.
// https://learn.microsoft.com/rest/api/keyvault/keys/get-key/get-key#error
type reply struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Inner   struct {
			Code string `json:"code"`
		} `json:"innererror"`
	} `json:"error"`
}

// remedy maps an answer to a class and the operator's action.
type remedy struct {
	status    int
	inner     string // the inner code, "" for any
	words     string // part of the message, "" for any
	operation string // "" for any
	class     seals.Class
	text      string
}

const (
	permit = "grant the identity wrapKey, unwrapKey and get on keys of the vault " +
		"(the role \"Key Vault Crypto Service Encryption User\"), and check the vault's firewall"
	enable  = "enable the key again: az keyvault key set-attributes --enabled true"
	prolong = "change the expiration date of the key, or rotate it"
)

// remedies are searched in this order.
// https://learn.microsoft.com/azure/key-vault/general/rest-error-codes
var remedies = []remedy{
	{403, "KeyDisabled", "", "", seals.KeyDisabled, enable},
	{403, "", "disabled key", "", seals.KeyDisabled, enable},
	{403, "KeyExpired", "", "", seals.KeyDisabled, prolong},
	{403, "", "expired", "", seals.KeyDisabled, prolong},
	{403, "KeyNotYetValid", "", "", seals.KeyDisabled, "change the date from which the key is valid (nbf)"},
	{403, "", "not yet valid", "", seals.KeyDisabled, "change the date from which the key is valid (nbf)"},
	{403, "", "is not permitted on this key", "", seals.KeyDisabled,
		"add wrapKey and unwrapKey to the operations of the key (key_ops)"},
	{403, "", "", "", seals.Denied, permit},
	{401, "", "", "", seals.Denied, "check that tenant_id is that of the vault, and check the host's clock; " +
		"a secret in a file is read again at the next call"},
	{404, "", "", "", seals.KeyGone, "correct vault_name or key_name; if the key was purged, restore it: az " +
		"keyvault key restore"},
	{400, "", "", "unwrapKey", seals.Corrupt, "restore the stored seal record from a backup; " +
		"if the key was restored or imported again, check that it is the same key"},
	{409, "", "", "", seals.PendingDeletion, "recover the key: az keyvault key recover"},
	{429, "", "", "", seals.Throttled, "reduce the load of other clients of the vault, or wait"},
}

// failure classifies an error of a call.
func (w *Wrapper) failure(ctx context.Context, operation string, err error) error {
	var f *seals.Failure
	if errors.As(err, &f) {
		if f.Class == seals.Unreachable {
			w.transport.CloseIdleConnections() // they may be broken, too
		}
		named := *f
		named.Err = fmt.Errorf("seal \"azurekeyvault\" %q: %w", w.name, f.Err)
		return &named
	}
	if ctx.Err() != nil {
		return remote.Over(ctx, fmt.Errorf("seal \"azurekeyvault\" %q at %s: %w", w.name, w.settings.vaultURL,
			ctx.Err()))
	}
	var answer *azcore.ResponseError
	if errors.As(err, &answer) {
		return w.refused(ctx, operation, answer)
	}
	var refused *azidentity.AuthenticationFailedError
	if errors.As(err, &refused) && refused.RawResponse != nil {
		return w.unauthenticated(refused.RawResponse)
	}
	return w.unanswered(err)
}

// unanswered classifies a call without an answer, or with an answer that is not one of the service.
func (w *Wrapper) unanswered(err error) error {
	named := fmt.Errorf("seal \"azurekeyvault\" %q at %s: %.500s", w.name, w.settings.vaultURL, oneLine(err.Error()))
	var verification *tls.CertificateVerificationError
	var syntax *json.SyntaxError
	switch text := err.Error(); {
	case errors.As(err, &verification), strings.Contains(text, "x509: "):
		return seals.Fail(seals.Misconfigured, named,
			"set tls_ca_cert to the CA of the service's certificate, or check the proxy in between")
	case strings.Contains(text, "challenge resource"):
		return seals.Fail(seals.Misconfigured, named,
			"correct vault_name, resource or environment: the vault belongs to another cloud")
	case strings.Contains(text, "isn't configured to acquire tokens for tenant"):
		return seals.Fail(seals.Misconfigured, named, "correct tenant_id: the vault belongs to another tenant")
	case errors.As(err, &syntax), strings.Contains(text, "unmarshal"):
		return seals.Fail(seals.Corrupt, named,
			"check that the vault's address is correct and that no proxy answers in its place")
	}
	return seals.Fail(seals.Unreachable, named,
		"check that the vault and the token service are reachable from this host "+
			"and that the host has the identity that auth_method %s needs", w.settings.method)
}

// refused classifies an error of the vault.
func (w *Wrapper) refused(ctx context.Context, operation string, answer *azcore.ResponseError) error {
	var r reply
	if answer.RawResponse != nil {
		if body, err := runtime.Payload(answer.RawResponse); err == nil {
			_ = json.Unmarshal(body, &r) // an answer that is not JSON has no code
		}
	}
	cause := fmt.Errorf("seal \"azurekeyvault\" %q, %s of %s: the vault answered %d %s %s: %.300s", w.name, operation,
		w.id,
		answer.StatusCode, r.Error.Code, r.Error.Inner.Code, oneLine(r.Error.Message))
	switch answer.StatusCode {
	case http.StatusNotFound:
		if d := w.deleted(ctx); d != nil {
			return seals.Fail(seals.PendingDeletion, fmt.Errorf("%w: %w", cause, d),
				"recover the key: az keyvault key recover")
		}
	case http.StatusUnauthorized:
		w.credential.forget()
	}
	for _, m := range remedies {
		if m.status == answer.StatusCode && (m.inner == "" || m.inner == r.Error.Inner.Code) &&
			(m.operation == "" || m.operation == operation) &&
			strings.Contains(r.Error.Message, m.words) {
			return seals.Fail(m.class, cause, "%s", m.text)
		}
	}
	if answer.StatusCode >= 500 || answer.StatusCode == http.StatusRequestTimeout {
		return seals.Fail(seals.Unreachable, cause, "check the status of Azure Key Vault in the vault's region")
	}
	return seals.Fail(seals.Misconfigured, cause,
		"use an RSA key whose operations include wrapKey and unwrapKey; the vault's answer says what it refuses")
}

// deleted returns the recovery date of a deleted key, nil where the key cannot be recovered or the
// credentials may not read that.
func (w *Wrapper) deleted(ctx context.Context) *deletedError {
	r, err := w.client.GetDeletedKey(ctx, w.settings.key, nil)
	if err != nil {
		return nil
	}
	d := &deletedError{}
	if r.ScheduledPurgeDate != nil {
		d.purge = *r.ScheduledPurgeDate
	}
	return d
}

// unauthenticated classifies an error of the token service. It quotes only parts of the body, which
// may contain the request.
func (w *Wrapper) unauthenticated(resp *http.Response) error {
	var r struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
	}
	if body, err := runtime.Payload(resp); err == nil {
		_ = json.Unmarshal(body, &r)
	}
	text, _, _ := strings.Cut(oneLine(r.Description), " Trace ID")
	cause := fmt.Errorf("seal \"azurekeyvault\" %q: the token service answered %d %s: %.300s", w.name, resp.StatusCode,
		r.Code, text)
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		return seals.Fail(seals.Throttled, cause, "wait, or reduce the token requests of other clients")
	case resp.StatusCode >= 500:
		return seals.Fail(seals.Unreachable, cause, "check the status of Microsoft Entra ID")
	}
	return seals.Fail(seals.Denied, cause,
		"correct tenant_id, client_id or the credentials of auth_method %s; a secret in a file is read again at the "+
			"next call",
		w.settings.method)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

var _ client = (*azkeys.Client)(nil)
