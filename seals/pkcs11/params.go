package pkcs11

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/internal/fips"
	"github.com/sealgate/sealgate/seals"
)

// prefixes of the environment variables, strongest first. A variable with a prefix and a
// parameter's name in upper case overrides the stanza.
var prefixes = []string{"SEALGATE_HSM_", "BAO_HSM_", "VAULT_HSM_"}

// ignored lists parameters of Vault without a meaning here.
var ignored = []string{"default_key_label", "default_hmac_key_label", "force_rw_session"}

// settings is a parsed stanza.
type settings struct {
	token    hsm.Config
	key      hsm.KeySpec
	generate bool
}

// parse reads every parameter. It reads the PIN's file or variable last, if everything else is
// right.
func parse(cfg seals.Config) (settings, error) {
	p := seals.NewParams(cfg, prefixes...)
	var o settings
	o.token = hsm.Config{Lib: p.File("lib", "module"), TokenLabel: p.Get("token_label", "token"),
		TokenSerial: p.Get("token_serial"), Log: cfg.Log}
	o.key = hsm.KeySpec{Label: p.Get("key_label", "label"), HMACLabel: p.Get("hmac_key_label")}
	err := errors.Join(o.readToken(p), o.readKey(p), o.readMechanisms(p))
	pin := p.Get("pin")
	for _, name := range ignored {
		p.Get(name)
	}
	if cerr := p.Check(); cerr != nil {
		return settings{}, cerr
	}
	if err = errors.Join(err, o.missing()); err != nil {
		return settings{}, err
	}
	o.token.PIN, err = p.Secret("pin")
	if path, ok := strings.CutPrefix(pin, "file://"); ok && err == nil {
		warnIfOpen(path, cfg)
	}
	return o, err
}

// warnIfOpen logs a warning if other users can read the PIN's file.
func warnIfOpen(path string, cfg seals.Config) {
	info, err := os.Stat(path)
	if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		cfg.Log.Warn("other users of this machine can read the file with the HSM's PIN; run chmod 600 on it",
			slog.String("seal", cfg.Name), slog.String("file", path), slog.String("mode", info.Mode().Perm().String()))
	}
}

func (o *settings) missing() error {
	switch {
	case o.token.Lib == "":
		return fmt.Errorf("lib is required: the path of the HSM's PKCS#11 library")
	case o.token.Slot == nil && o.token.TokenLabel == "" && o.token.TokenSerial == "":
		return fmt.Errorf("token_label, token_serial or slot is required")
	case o.key.Label == "" && o.key.ID == nil:
		return fmt.Errorf("key_label or key_id is required")
	case o.generate && o.key.Label == "":
		return fmt.Errorf("generate_key needs a key_label")
	case o.generate && o.key.Mechanism == hsm.AESCBCPad && o.key.HMACLabel == "":
		return fmt.Errorf("generate_key with CKM_AES_CBC_PAD needs an hmac_key_label")
	}
	return nil
}

func (o *settings) readToken(p *seals.Params) error {
	if v := p.Get("slot"); v != "" {
		n, err := strconv.ParseUint(v, 0, 64)
		if err != nil {
			return invalid("slot", v, "a number, decimal or with 0x")
		}
		slot := uint(n)
		o.token.Slot = &slot
	}
	if v := p.Get("max_parallel"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 || n > 256 {
			return invalid("max_parallel", v, "a number of sessions from 1 to 256, or 0 for the default")
		}
		o.token.Sessions = n
	}
	if v := p.Get("timeout"); v != "" {
		d, err := duration(v)
		if err != nil || d < 100*time.Millisecond || d > 10*time.Minute {
			return invalid("timeout", v, "a duration from 100ms to 10m, like 10s, or a number of seconds")
		}
		o.token.Deadline = d
	}
	return errors.Join(boolean(p, "pin_final_try", &o.token.FinalTry), o.readIsolation(p))
}

func (o *settings) readIsolation(p *seals.Params) error {
	switch v := p.Get("isolation"); v {
	case "", string(hsm.Process):
		o.token.Isolation = hsm.Process
	case string(hsm.InProcess):
		o.token.Isolation = hsm.InProcess
	default:
		return invalid("isolation", v, `"process" or "none"`)
	}
	network := true
	if err := boolean(p, "network", &network); err != nil {
		return err
	}
	o.token.NoNetwork = !network
	if v := p.Get("allow_paths"); v != "" {
		for path := range strings.SplitSeq(v, ",") {
			if path = strings.TrimSpace(path); !filepath.IsAbs(path) {
				return invalid("allow_paths", v, "absolute paths with commas between them")
			}
			o.token.Paths = append(o.token.Paths, path)
		}
	}
	if o.token.Isolation == hsm.InProcess && (o.token.NoNetwork || o.token.Paths != nil) {
		return errors.New(`network = false and allow_paths need isolation = "process"`)
	}
	return nil
}

func (o *settings) readKey(p *seals.Params) (err error) {
	var err2 error
	o.key.ID, err = keyID(p, "key_id")
	o.key.HMACID, err2 = keyID(p, "hmac_key_id")
	return errors.Join(err, err2, boolean(p, "generate_key", &o.generate),
		boolean(p, "require_nonextractable", &o.key.NonExtractable),
		boolean(p, "accept_unauthenticated", &o.key.AllowNoMAC))
}

func (o *settings) readMechanisms(p *seals.Params) (err error) {
	if v := p.Get("mechanism"); v != "" {
		if o.key.Mechanism, err = hsm.ParseMechanism(v); err != nil {
			return invalid("mechanism", v, "CKM_AES_GCM, CKM_AES_CBC_PAD (with an HMAC key) or CKM_RSA_PKCS_OAEP")
		}
	}
	if v := p.Get("hmac_mechanism"); v != "" {
		if o.key.HMACMechanism, err = hsm.ParseMechanism(v); err != nil {
			return invalid("hmac_mechanism", v, "CKM_SHA256_HMAC, CKM_SHA384_HMAC or CKM_SHA512_HMAC")
		}
	}
	if v := p.Get("rsa_oaep_hash"); v != "" {
		if o.key.OAEPHash, err = hsm.ParseHash(v); err != nil {
			return invalid("rsa_oaep_hash", v, "sha256, sha384, sha512, sha224 or sha1")
		}
		if o.key.OAEPHash == hsm.HashSHA1 {
			if err := fips.Refuse("rsa_oaep_hash = \"sha1\"", "sha256, or an AES key with CKM_AES_GCM"); err != nil {
				return err
			}
		}
	}
	local := true
	if err := boolean(p, "rsa_encrypt_local", &local); err != nil {
		return err
	}
	o.key.OAEPOnToken = !local
	return boolean(p, "disable_software_encryption", &o.key.OAEPOnToken)
}

func invalid(name, value, wanted string) error {
	return fmt.Errorf("%s = %q: it must be %s", name, value, wanted)
}

func boolean(p *seals.Params, name string, to *bool) error {
	v := p.Get(name)
	if v == "" {
		return nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return invalid(name, v, "true or false")
	}
	*to = b
	return nil
}

// keyID parses a CKA_ID in hexadecimal, with the prefix and colons that tools print.
func keyID(p *seals.Params, name string) ([]byte, error) {
	v := p.Get(name)
	if v == "" {
		return nil, nil
	}
	b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimPrefix(strings.ToLower(v), "0x"), ":", ""))
	if err != nil || len(b) == 0 || len(b) > 255 {
		return nil, invalid(name, v, "the id (CKA_ID) of the key in hexadecimal digits")
	}
	return b, nil
}

// duration parses "10s", and "10" as seconds.
func duration(v string) (time.Duration, error) {
	if n, err := strconv.Atoi(v); err == nil {
		return time.Duration(min(n, 1<<20)) * time.Second, nil
	}
	return time.ParseDuration(v)
}
