package kmip

import (
	"context"
	"errors"

	"github.com/sealgate/sealgate/seals"
)

// CreateKey makes an AES-256 key at the server of a stanza, which need not have kms_key_id,
// activates it, and proves it by a round trip. It returns the unique identifier for kms_key_id.
func CreateKey(ctx context.Context, cfg seals.Config, name string) (id string, err error) {
	s, err := parse(cfg, false)
	if err != nil {
		return "", seals.ConfigError("kmip", cfg.Name, err)
	}
	if name == "" || len(name) > maxName || printable(name) != name {
		return "", seals.ConfigError("kmip", cfg.Name, errors.New("the name of a new key has 1 to 200 bytes"))
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	s.key = ""
	w := newWrapper(cfg, s)
	defer w.client.drop(true)
	out, err := w.do(ctx, opCreate, func(version) []item {
		return []item{enum(tagObjectType, symmetricKey), structure(tagTemplate,
			attribute("Cryptographic Algorithm", enum(0, algorithmAES)),
			attribute("Cryptographic Length", integer(0, keyLen*8)),
			attribute("Cryptographic Usage Mask", integer(0, maskBoth)),
			attribute("Name", structure(0, text(tagNameValue, name), enum(tagNameType, plainName))))}
	})
	if err != nil {
		return "", w.failure(ctx, "create a key", err)
	}
	w.settings.key = out.find(tagID).text()
	if w.settings.key == "" || printable(w.settings.key) != w.settings.key {
		return "", w.failure(ctx, "create a key", errTTLV)
	}
	_, err = w.do(ctx, opActivate, func(version) []item { return []item{text(tagID, w.settings.key)} })
	if err != nil {
		return w.settings.key, w.failure(ctx, "activate the key", err)
	}
	blob, err := w.Encrypt(ctx, make([]byte, keyLen))
	if err == nil {
		_, err = w.Decrypt(ctx, blob)
	}
	return w.settings.key, err
}
