package kmip

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/sealgate/sealgate/seals"
)

// failure classifies an error. Where the server refuses the use of a key, its state says why.
func (w *Wrapper) failure(ctx context.Context, doing string, err error) error {
	var f *seals.Failure
	if errors.As(err, &f) {
		return err
	}
	named := fmt.Errorf("seal \"kmip\" %q, key %s at %s: %s: %w", w.name, w.settings.key,
		strings.Join(w.settings.endpoints, ","), doing, err)
	var r *refusal
	if errors.As(err, &r) {
		return w.refused(ctx, r, named, err)
	}
	var config *configError
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var alert tls.AlertError
	switch {
	case errors.As(err, &config):
		return seals.Fail(seals.Misconfigured, named, "correct the files that the stanza names")
	case errors.As(err, &verification), errors.As(err, &authority), errors.As(err, &host):
		return seals.Fail(seals.Misconfigured, named,
			"set ca_cert to the CA of the server's certificate, and server_name to a name in the certificate")
	case errors.As(err, &alert):
		return seals.Fail(seals.Denied, named,
			"the server does not take the client's certificate or its TLS: check client_cert, client_key and tls12_ciphers")
	case errors.Is(err, errTTLV):
		return seals.Fail(seals.Corrupt, named,
			"check that endpoint is correct and that nothing answers in the server's place or changes its answers")
	case errors.Is(err, context.Canceled):
		return seals.Fail(seals.Unreachable, named, "the request was cancelled before the server answered; try again")
	case errors.Is(err, context.DeadlineExceeded):
		w.client.drop(false) // they may be broken, too
		return seals.Fail(seals.Unreachable, named, "check that the server answers; raise timeout if it is only slow")
	}
	return seals.Fail(seals.Unreachable, named, "check that the server is up and reachable from this host")
}

func (w *Wrapper) refused(ctx context.Context, r *refusal, named, err error) error {
	switch r.reason {
	case reasonItemNotFound, reasonDestroyed:
		return gone(named)
	case reasonArchived, reasonWrongState:
		return w.disabled(named)
	case reasonPermission, reasonIllegal, reasonInvalidField:
		if a, aerr := w.attributes(ctx); aerr == nil && a.state != 0 {
			switch {
			case states[a.state].word == "destroyed":
				return gone(named)
			case states[a.state].word == "disabled":
				return w.disabled(fmt.Errorf("%w (the key is %s)", named, states[a.state].name))
			case a.algorithm != algorithmAES || a.mask&maskBoth != maskBoth:
				return seals.Fail(seals.Misconfigured, named,
					"use an AES key whose usage mask has Encrypt and Decrypt: `sealgate seal kmip create-key` makes one")
			}
		}
		return denied(named)
	case reasonAuthentication:
		return denied(named)
	case reasonInvalidMessage, reasonVersion, reasonUnsupported:
		if errors.Is(err, errVersion) {
			return seals.Fail(seals.Misconfigured, named, "use a server that speaks KMIP 1.4, as when the record was made")
		}
		return seals.Fail(seals.Misconfigured, named, "use a server that speaks KMIP 1.2 to 1.4 with Encrypt and Decrypt")
	}
	return seals.Fail(seals.Unreachable, named, "check the log of the KMIP server")
}

func gone(err error) error {
	return seals.Fail(seals.KeyGone, err,
		"correct kms_key_id; if the key was destroyed, restore it from the server's backup")
}

func denied(err error) error {
	return seals.Fail(seals.Denied, err,
		"have the KMIP server's administrator allow this client certificate to use the key")
}

func (w *Wrapper) disabled(err error) error {
	return seals.Fail(seals.KeyDisabled, err,
		"have the key activated or recovered at the server; if this server is still unsealed, wrap by another key first")
}
