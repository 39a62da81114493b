package transit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/openbao/openbao/api/v2"

	"github.com/sealgate/sealgate/seals"
)

var (
	errAnswer = errors.New("the answer is not one of the transit engine")
	errNoKey  = errors.New("encryption key not found")
)

// status returns the HTTP status of an error, 0 where the server did not answer.
func status(err error) int {
	var r *api.ResponseError
	if errors.As(err, &r) {
		return r.StatusCode
	}
	return 0
}

// answer returns the server's error in one line.
func answer(err error) string {
	var r *api.ResponseError
	if !errors.As(err, &r) {
		return ""
	}
	text := strings.Join(strings.Fields(strings.Join(r.Errors, "; ")), " ")
	if r.RawError && len(text) > 200 {
		text = text[:200] + "..." // an HTML page of a proxy
	}
	if text == "" {
		text = http.StatusText(r.StatusCode)
	}
	return fmt.Sprintf("the server answered %d: %s", r.StatusCode, text)
}

// remedy maps an answer to a class and the operator's action.
type remedy struct {
	status int    // 0: any
	words  string // substring of the answer
	class  seals.Class
	text   string
}

// remedies are searched in this order. The words are those of Vault and OpenBao, which have no
// error codes beside the status.
var remedies = []remedy{
	{400, "message authentication failed", seals.Corrupt, "restore the stored seal record from a backup; " +
		"if the server's key was deleted and recreated under the same name, restore the key from the server's backup"},
	{400, "version is too new", seals.KeyGone,
		"this server lacks that version of the key: check whether the server was " +
			"restored from an older backup, or the key was recreated under the same name"},
	{400, "invalid ciphertext", seals.Corrupt, "restore the stored seal record from a backup"},
	{400, "disallowed by policy (too old)", seals.KeyDisabled,
		"lower min_decryption_version of the key, rewrap the root key, then raise it again"},
	{400, "soft-deleted", seals.KeyDisabled, "restore the key: POST <mount>/keys/<name>/soft-delete-restore"},
	{400, "encryption key not found", seals.KeyGone,
		"correct key_name or mount_path; if the key was deleted, restore it from the server's backup"},
	{400, "unknown key type " + neverAType, seals.KeyGone,
		"correct key_name or mount_path; if the key was deleted, restore it from the server's backup; " +
			"for a new seal create it: POST <mount>/keys/<name>"},
	{400, "key derivation", seals.Misconfigured, "use a key that is not derived"},
	{400, "not supported for key type", seals.Misconfigured, "use an encryption key, such as one of type aes256-gcm96"},
	{400, "missing client token", seals.Denied, "set token, or store one in its file"},
	{403, "", seals.Denied, "give the token a policy with update on <mount>/encrypt/<name> and " +
		"<mount>/decrypt/<name>, " +
		"or replace the token; a token in a file is read again at the next call"},
	{404, "", seals.KeyGone, "correct mount_path, key_name or namespace; if the engine was disabled, its keys were " +
		"destroyed: restore the server from its backup"},
	{429, "", seals.Throttled, "raise the server's rate limit quota, or wait"},
	{501, "", seals.Unreachable, "initialise the server of the transit engine"},
	{503, "sealed", seals.Unreachable, "unseal the server of the transit engine; this seal then recovers " +
		"automatically"},
	{500, "cipher", seals.Corrupt, "restore the stored seal record from a backup"},
	{500, "decryption error", seals.Corrupt, "restore the stored seal record from a backup"}, // an RSA key
}

// failure classifies an error of a call.
func (w *Wrapper) failure(err error) error {
	if err == nil {
		return nil
	}
	var f *seals.Failure
	if errors.As(err, &f) {
		return err
	}
	if code := status(err); code != 0 {
		return w.refused(code, answer(err))
	}
	named := fmt.Errorf("seal \"transit\" %q at %s: %w", w.name, w.settings.address, err)
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.Is(err, errNoKey):
		return seals.Fail(seals.KeyGone, named,
			"correct key_name or mount_path; if the key was deleted, restore it from the server's backup")
	case errors.Is(err, context.Canceled):
		return seals.Fail(seals.Unreachable, named, "the request was cancelled before the server answered; try again")
	case errors.Is(err, context.DeadlineExceeded):
		w.transport.CloseIdleConnections() // they may be broken, too
		return seals.Fail(seals.Unreachable, named, "check that the server answers; raise timeout if it is only slow")
	case untrusted(err):
		return seals.Fail(seals.Misconfigured, named,
			"set tls_ca_cert to the CA of the server's certificate, and tls_server_name to a name in the certificate")
	case errors.Is(err, errAnswer), errors.As(err, &syntax), errors.As(err, &mismatch):
		return seals.Fail(seals.Corrupt, named,
			"check that address is correct and that no proxy answers in the server's place or changes its answers")
	}
	return seals.Fail(seals.Unreachable, named, "check that the server is up and reachable from this host")
}

func untrusted(err error) bool {
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	return errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &host)
}

func (w *Wrapper) refused(code int, text string) error {
	named := fmt.Errorf("seal \"transit\" %q, key %s at %s: %s", w.name, w.id, w.settings.address, text)
	for _, r := range remedies {
		if (r.status == 0 || r.status == code) && strings.Contains(text, r.words) {
			place := strings.NewReplacer("<mount>", w.settings.mount, "<name>", w.settings.key)
			return seals.Fail(r.class, named, "%s", place.Replace(r.text))
		}
	}
	if code >= 500 {
		return seals.Fail(seals.Unreachable, named, "check the log of the transit engine's server")
	}
	return seals.Fail(seals.Misconfigured, named, "correct the stanza or the key as the server's answer says")
}
