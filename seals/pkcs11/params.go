package pkcs11

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/seals"
)

// aliases are the other names of parameters.
var aliases = map[string]string{
	"module": "lib", "token": "token_label", "label": "key_label", "max_sessions": "max_parallel",
}

// parameters are the names that a stanza may have. Each is read from the environment, too: SEALGATE_HSM_, BAO_HSM_ and
// VAULT_HSM_ with the name in capitals, in this order, win over the stanza.
var parameters = []string{
	"lib", "slot", "token_label", "token_serial", "pin", "key_label", "key_id", "mechanism", "rsa_oaep_hash", "hmac_key_label", "hmac_key_id",
	"hmac_mechanism", "generate_key", "disable_software_encryption", "rsa_encrypt_local", "max_parallel", "timeout", "pin_final_try",
}

// without effect here: common keys of every stanza, and Vault's knobs for what is not done here.
var ignored = []string{
	"name", "priority", "disabled", "purpose", "default_key_label", "default_hmac_key_label", "force_rw_session",
}

// prefixes of the environment variables, strongest first.
var prefixes = []string{"SEALGATE_HSM_", "BAO_HSM_", "VAULT_HSM_"}

// settings is a stanza that was understood.
type settings struct {
	token    hsm.Config
	key      hsm.KeySpec
	generate bool
}

// stanza is the parameters by their proper names, each with what to call it in a message.
type stanza struct {
	values  map[string]string
	sources map[string]string
}

// gather takes the stanza's parameters and lays the environment's over them.
func gather(cfg seals.Config) (*stanza, error) {
	s := &stanza{values: map[string]string{}, sources: map[string]string{}}
	for _, name := range slices.Sorted(maps.Keys(cfg.Params)) {
		proper := name
		if other, ok := aliases[name]; ok {
			proper = other
		}
		switch {
		case slices.Contains(ignored, proper):
			continue
		case !slices.Contains(parameters, proper):
			return nil, fmt.Errorf("unknown parameter %q; %s", name, suggest(name))
		case s.sources[proper] != "" && s.values[proper] != cfg.Params[name]:
			return nil, fmt.Errorf("%s and %s are the same parameter and differ", s.sources[proper], name)
		}
		s.values[proper], s.sources[proper] = cfg.Params[name], name
	}
	if cfg.Getenv == nil {
		return s, nil
	}
	for _, name := range parameters {
		for _, prefix := range prefixes {
			variable := prefix + strings.ToUpper(name)
			if v := cfg.Getenv(variable); v != "" {
				s.values[name], s.sources[name] = v, variable
				break
			}
		}
	}
	return s, nil
}

// parse reads every parameter. It resolves the PIN last, so that a mistake elsewhere does not read its file.
func parse(cfg seals.Config) (settings, error) {
	s, err := gather(cfg)
	if err != nil {
		return settings{}, err
	}
	var out settings
	out.token = hsm.Config{
		Lib: s.values["lib"], TokenLabel: s.values["token_label"], TokenSerial: s.values["token_serial"], Log: cfg.Log,
	}
	out.key = hsm.KeySpec{Label: s.values["key_label"], HMACLabel: s.values["hmac_key_label"]}
	for _, read := range []func(*stanza) error{out.readToken, out.readKey, out.readMechanisms} {
		if err := read(s); err != nil {
			return settings{}, err
		}
	}
	if err := out.missing(); err != nil {
		return settings{}, err
	}
	if pin, given := s.values["pin"]; given {
		b, err := resolve(pin, cfg)
		if err != nil {
			return settings{}, fmt.Errorf("%s: %w", s.sources["pin"], err)
		}
		out.token.PIN = secret.New(b)
	}
	return out, nil
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

func (o *settings) readToken(s *stanza) error {
	if v := s.values["slot"]; v != "" {
		n, err := strconv.ParseUint(v, 0, 64)
		if err != nil {
			return s.invalid("slot", "a number, decimal or with 0x")
		}
		slot := uint(n)
		o.token.Slot = &slot
	}
	if v := s.values["max_parallel"]; v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 || n > 256 {
			return s.invalid("max_parallel", "a number of sessions from 1 to 256, or 0 for the default")
		}
		o.token.Sessions = n
	}
	if v := s.values["timeout"]; v != "" {
		d, err := duration(v)
		if err != nil || d < 100*time.Millisecond || d > 10*time.Minute {
			return s.invalid("timeout", "a duration from 100ms to 10m, like 10s, or a number of seconds")
		}
		o.token.Deadline = d
	}
	return s.boolean("pin_final_try", &o.token.FinalTry)
}

func (o *settings) readKey(s *stanza) (err error) {
	if o.key.ID, err = s.id("key_id"); err != nil {
		return err
	}
	if o.key.HMACID, err = s.id("hmac_key_id"); err != nil {
		return err
	}
	return s.boolean("generate_key", &o.generate)
}

func (o *settings) readMechanisms(s *stanza) (err error) {
	if v := s.values["mechanism"]; v != "" {
		if o.key.Mechanism, err = hsm.ParseMechanism(v); err != nil {
			return s.invalid("mechanism", "CKM_AES_GCM, CKM_AES_CBC_PAD (with an HMAC key) or CKM_RSA_PKCS_OAEP")
		}
	}
	if v := s.values["hmac_mechanism"]; v != "" {
		if o.key.HMACMechanism, err = hsm.ParseMechanism(v); err != nil {
			return s.invalid("hmac_mechanism", "CKM_SHA256_HMAC, CKM_SHA384_HMAC or CKM_SHA512_HMAC")
		}
	}
	if v := s.values["rsa_oaep_hash"]; v != "" {
		if o.key.OAEPHash, err = hsm.ParseHash(v); err != nil {
			return s.invalid("rsa_oaep_hash", "sha256, sha384, sha512, sha224 or sha1")
		}
	}
	local := true
	if err := s.boolean("rsa_encrypt_local", &local); err != nil {
		return err
	}
	o.key.OAEPOnToken = !local
	return s.boolean("disable_software_encryption", &o.key.OAEPOnToken)
}

func (s *stanza) invalid(name, wanted string) error {
	return fmt.Errorf("%s = %q: it must be %s", s.sources[name], s.values[name], wanted)
}

func (s *stanza) boolean(name string, to *bool) error {
	v := s.values[name]
	if v == "" {
		return nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return s.invalid(name, "true or false")
	}
	*to = b
	return nil
}

// id reads a CKA_ID in hexadecimal, with the decorations that tools print it with.
func (s *stanza) id(name string) ([]byte, error) {
	v := s.values[name]
	if v == "" {
		return nil, nil
	}
	b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimPrefix(strings.ToLower(v), "0x"), ":", ""))
	if err != nil || len(b) == 0 || len(b) > 255 {
		return nil, s.invalid(name, "the id (CKA_ID) of the key in hexadecimal digits")
	}
	return b, nil
}

// duration reads "10s", and "10" as seconds.
func duration(v string) (time.Duration, error) {
	if n, err := strconv.Atoi(v); err == nil {
		return time.Duration(min(n, 1<<20)) * time.Second, nil
	}
	return time.ParseDuration(v)
}

// suggest names the known parameter that a misspelt one is nearest to.
func suggest(name string) string {
	best, distance := "", len(name)
	for _, known := range append(slices.Collect(maps.Keys(aliases)), parameters...) {
		if d := edits(name, known); d < distance || d == distance && known < best {
			best, distance = known, d
		}
	}
	if best != "" && distance <= 3 {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "known are " + strings.Join(parameters, ", ")
}

// edits is Levenshtein's distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
