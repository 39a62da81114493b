package ceremony

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/recovery/recipient"
)

// Recipients parses the public keys of recipients, which must be usable at a time. It returns them
// without what encryption does not need, and their fingerprints.
func Recipients(texts []string, at time.Time) (compact, prints []string, err error) {
	to, err := recipient.ParseAll(texts, at)
	if err != nil {
		return nil, nil, fault.Wrap(err, fault.Invalid, "%v", err)
	}
	for _, r := range to {
		compact, prints = append(compact, r.Compact()), append(prints, r.Fingerprint())
	}
	return compact, prints, nil
}

// Enclose encrypts each share to its recipient and destroys the share; without recipients it
// returns the shares. The plaintext is the share's hexadecimal text, which clients expect. at is
// the time at which the recipients were accepted: a key that has expired since then does not stop
// the last holder.
func Enclose(recipients []string, shares []*secret.Bytes, at time.Time) ([]*secret.Bytes, []string, error) {
	if len(recipients) == 0 {
		return shares, nil, nil
	}
	to, err := recipient.ParseAll(recipients, at)
	if err != nil {
		return nil, nil, fmt.Errorf("ceremony: a recipient's key was valid when the rekey began: %w", err)
	}
	var out []*secret.Bytes
	var prints []string
	for i, r := range to {
		text := make([]byte, hex.EncodedLen(shares[i].Len()))
		hex.Encode(text, shares[i].Expose())
		message, err := r.Encrypt(text)
		clear(text)
		if err != nil {
			return nil, nil, fmt.Errorf("ceremony: encrypting share %d: %w", i+1, err)
		}
		shares[i].Destroy()
		out, prints = append(out, secret.New(message)), append(prints, r.Fingerprint())
	}
	return out, prints, nil
}

// EncryptToken encrypts a token to one recipient, whose key was valid at a time. The result is
// base64, which clients expect.
func EncryptToken(token, to string, at time.Time) (encoded string, prints []string, err error) {
	r, err := recipient.Parse(to, at)
	if err != nil {
		return "", nil, fmt.Errorf("ceremony: the token's recipient: %w", err)
	}
	message, err := r.Encrypt([]byte(token))
	if err != nil {
		return "", nil, fmt.Errorf("ceremony: encrypting the token: %w", err)
	}
	return base64.StdEncoding.EncodeToString(message), []string{r.Fingerprint()}, nil
}

// EncodeToken makes a token unreadable without the one-time password or the key that the ceremony
// names.
func EncodeToken(token string, c *recovery.Ceremony) (encoded string, prints []string, err error) {
	if c.Params.OTP != "" {
		encoded, err = recovery.EncodeToken(token, c.Params.OTP)
		return encoded, nil, err
	}
	return EncryptToken(token, c.Params.Recipients[0], c.Started)
}
