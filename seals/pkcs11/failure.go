package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"strings"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/seals"
)

// remedy maps an error of package hsm to its class and to what an operator does about it.
type remedy struct {
	cause error
	class seals.Class
	text  string
	final bool
}

// remedies is searched in this order.
var remedies = []remedy{
	{hsm.ErrNoCgo, seals.Misconfigured, "use a build with PKCS#11 support", true},
	{hsm.ErrNotLibrary, seals.Misconfigured,
		"set lib to the PKCS#11 library of the HSM's vendor, and check that this user may read it", false},
	{hsm.ErrPINFinalTry, seals.Denied,
		"check the PIN, then log in once with another tool (pkcs11-tool --login --list-objects), which resets the " +
			"token's counter, or set pin_final_try = true; then restart or reload", true},
	{hsm.ErrPINLocked, seals.Denied,
		"have the security officer unlock or reset the PIN, correct pin, then restart or reload", true},
	{hsm.ErrPINUnset, seals.Misconfigured,
		"set pin to env://NAME or file://PATH; if the token has no PIN, have the security officer set one", false},
	{hsm.ErrPIN, seals.Denied,
		"correct pin and reload, or correct the token's PIN and restart; it is not tried again before that, because " +
			"the token counts wrong PINs", true},
	{hsm.ErrTokenAmbiguous, seals.Misconfigured, "add token_serial", false},
	{hsm.ErrTokenGone, seals.Unreachable,
		"check the HSM's connection and power; the seal uses it again as soon as it is available", false},
	{hsm.ErrTokenNotFound, seals.KeyGone,
		"correct token_label, token_serial or slot; if the token is only disconnected, connect it", false},
	{hsm.ErrAmbiguousKey, seals.Misconfigured,
		"select the key by key_id, or by key_label and key_id; delete the other key if it is not needed", false},
	{hsm.ErrKeyType, seals.Misconfigured, "correct key_label, key_id or mechanism", false},
	{hsm.ErrKeyUse, seals.KeyDisabled, "have the key's attribute changed on the HSM, or use another key", false},
	{hsm.ErrKeyAttributes, seals.Misconfigured,
		"generate the key with the vendor's tools and remove generate_key", false},
	{hsm.ErrKeyProtection, seals.Misconfigured,
		"generate a key on the HSM with CKA_SENSITIVE true and CKA_EXTRACTABLE false and wrap by it, or set " +
			"require_nonextractable = false", false},
	{hsm.ErrReadOnly, seals.Misconfigured,
		"have the token allow changes, or keep the anchor elsewhere (anchor \"file\")", false},
	{hsm.ErrTokenFull, seals.Misconfigured,
		"delete objects that are not needed, or keep the anchor elsewhere (anchor \"file\")", false},
	{hsm.ErrKeyExists, seals.Misconfigured, "select the key by its id, or choose another label", false},
	{hsm.ErrKeyNotFound, seals.KeyGone,
		"correct key_label or key_id; for a new server, generate_key = true in the stanza makes the key; " +
			"if the key was deleted, restore it from the HSM's backup", false},
	{hsm.ErrMechanism, seals.Misconfigured,
		"choose another mechanism: an AES key with CKM_AES_GCM, an AES and an HMAC key with CKM_AES_CBC_PAD, " +
			"or an RSA key with CKM_RSA_PKCS_OAEP", false},
	{hsm.ErrNoMAC, seals.Corrupt,
		"if this is the server's own record from before hmac_key_label was set, start once with " +
			"accept_unauthenticated = true, run `sealgate write -f sys/rotate/root`, and remove that line; otherwise " +
			"somebody exchanged the record: restore it from a backup", false},
	{hsm.ErrFormat, seals.Corrupt, "restore the stored seal record from a backup", false},
	{hsm.ErrCorrupt, seals.Corrupt, "restore the stored seal record from a backup", false},
	{hsm.ErrTooLarge, seals.Misconfigured, "use the seal for keys; it does not encrypt larger data", false},
	{hsm.ErrSessions, seals.Throttled,
		"lower max_parallel, or end other programs' sessions on the token", false},
	{hsm.ErrWorker, seals.Unreachable,
		"see this process's standard error for the library's messages; update the vendor's library", false},
	{hsm.ErrStuck, seals.Unreachable,
		"check that the HSM answers; if it does and the error remains, its PKCS#11 library hangs: restart this process",
		false},
	{hsm.ErrDeadline, seals.Unreachable, "check that the HSM answers; raise timeout if it is only slow", false},
	{hsm.ErrClosed, seals.Unreachable, "none: the server is stopping, or replaced the seal", false},
	{hsm.ErrDevice, seals.Unreachable,
		"check the HSM's log, its network and its power; the call is retried", false},
	{hsm.ErrConfig, seals.Misconfigured, "correct the stanza or the environment variable", false},
}

// failure classifies an error of package hsm.
func (w *Wrapper) failure(err error) error {
	named := fmt.Errorf("seal \"pkcs11\" %q: %w", w.name, err)
	for _, r := range remedies {
		if !errors.Is(err, r.cause) {
			continue
		}
		text := r.text
		if r.cause == hsm.ErrKeyNotFound && w.settings.generate {
			text = "generate_key makes the key at the first encryption; if the key existed before, restore it from " +
				"the HSM's backup"
		}
		f := seals.Fail(r.class, named, "%s", text)
		f.Final = r.final
		return f
	}
	return seals.Classify(named)
}

// ours compares the key that a blob names with the seal's, without the token's serial number. It
// asks the token only if they differ.
func (w *Wrapper) ours(ctx context.Context, blob *wrapping.KeyInfo) error {
	key := w.keys.current()
	now, known := key.Known()
	if known && same(blob, now) {
		return nil
	}
	now, err := key.Describe(ctx)
	switch {
	case err != nil:
		return w.failure(err)
	case !same(blob, now):
		return w.wrongKey(blob.KeyId, now.URI)
	}
	return nil
}

func same(blob *wrapping.KeyInfo, now hsm.KeyInfo) bool {
	key := blob.KeyId == "" || onToken(blob.KeyId) == onToken(now.URI)
	mac := blob.HmacKeyId == "" || now.HMACURI == "" || onToken(blob.HmacKeyId) == onToken(now.HMACURI)
	return key && mac
}

// onToken returns a key's name without the token's serial number.
func onToken(uri string) string {
	_, name, found := strings.Cut(uri, ";")
	if !found {
		return uri
	}
	return name
}

func (w *Wrapper) wrongKey(blob, now string) error {
	return seals.Fail(seals.WrongKey, fmt.Errorf("seal \"pkcs11\" %q: the blob was wrapped by the key %.300q, this "+
		"seal has %q", w.name, blob, now),
		"select the key that the blob names in the stanza")
}

// judge classifies an error of Decrypt. A blob that fails authentication and names another token's
// key was wrapped by that key. So was a blob whose key is gone, where the stanza selects another.
func (w *Wrapper) judge(ctx context.Context, key *hsm.Key, blob *wrapping.KeyInfo, err error) error {
	gone := errors.Is(err, hsm.ErrKeyNotFound) && key != w.keys.sole
	if gone {
		key = w.keys.sole
	}
	if !gone && !errors.Is(err, hsm.ErrCorrupt) && !errors.Is(err, hsm.ErrKeyType) {
		return w.failure(err)
	}
	now, derr := key.Describe(ctx)
	if derr != nil || blob.KeyId == "" || blob.KeyId == now.URI {
		return w.failure(err)
	}
	return w.wrongKey(blob.KeyId, now.URI)
}
