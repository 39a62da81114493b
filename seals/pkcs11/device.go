package pkcs11

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"maps"
	"net/url"
	"strings"
	"time"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/seals"
)

// OpenToken opens a token for other keys than the seal's, with the seal's parameters of library,
// token and isolation. It does not load the library. Nothing is read from the environment, but for
// a pin that names a variable.
func OpenToken(cfg seals.Config) (_ *hsm.Token, timeout time.Duration, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	getenv := cfg.Getenv
	cfg.Getenv = nil
	cfg.Params = maps.Clone(cfg.Params)
	p := seals.NewParams(cfg)
	var o settings
	o.token = hsm.Config{Lib: p.File("lib"), TokenLabel: p.Get("token_label"), TokenSerial: p.Get("token_serial"),
		Log: cfg.Log}
	o.key.Label = "any" // the check below is that of a seal, which has a key
	err = o.readToken(p)
	pin := p.Get("pin")
	if err = errors.Join(err, p.Check(), o.missing()); err != nil {
		return nil, 0, seals.ConfigError("pkcs11", cfg.Name, err)
	}
	if pin != "" {
		if o.token.PIN, err = seals.ResolveSecret(pin, getenv); err != nil {
			return nil, 0, seals.ConfigError("pkcs11", cfg.Name, err)
		}
		defer o.token.PIN.Destroy() // hsm.New keeps a copy
	}
	t, err := hsm.New(o.token)
	if err != nil {
		return nil, 0, seals.ConfigError("pkcs11", cfg.Name, err)
	}
	if timeout = o.token.Deadline; timeout == 0 {
		timeout = hsm.DefaultDeadline
	}
	return t, timeout, nil
}

// Failure classifies an error of package hsm as the seal does.
func Failure(name string, err error) error {
	if err == nil {
		return nil
	}
	return (&Wrapper{name: name}).failure(err)
}

// ParseID parses a CKA_ID in hexadecimal, as the seal's key_id.
func ParseID(text string) ([]byte, error) {
	return keyID(seals.NewParams(seals.Config{Params: map[string]string{"key_id": text}}), "key_id")
}

var _ seals.KeyOwner = (*Wrapper)(nil)

// OwnsKey compares an RFC 7512 URI with the stanza. The token does not count: a backup of it has
// the same keys. Without a label in the stanza the id decides; otherwise the label does, whatever
// the id.
func (w *Wrapper) OwnsKey(_ context.Context, uri string) bool {
	label, id := URIParts(uri)
	s := w.settings.key
	return ownsName(s.Label, s.ID, label, id) || ownsName(s.HMACLabel, s.HMACID, label, id)
}

func ownsName(label string, id []byte, hasLabel, hasID string) bool {
	switch {
	case label != "":
		return label == hasLabel
	case len(id) > 0:
		return hex.EncodeToString(id) == hasID
	}
	return false
}

// URIParts returns the label and the id, in hexadecimal, of a key's URI.
func URIParts(uri string) (label, id string) {
	for part := range strings.SplitSeq(strings.TrimPrefix(uri, "pkcs11:"), ";") {
		name, value, _ := strings.Cut(part, "=")
		plain, err := url.PathUnescape(value)
		switch {
		case err != nil:
		case name == "object":
			label = plain
		case name == "id":
			id = hex.EncodeToString([]byte(plain))
		}
	}
	return label, id
}
