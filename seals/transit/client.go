package transit

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/openbao/openbao/api/v2"

	"github.com/sealgate/sealgate/seals/internal/remote"
)

const (
	maxReply    = 1 << 20
	connections = 16 // limit of connections to the server
)

// newClient makes the client without using the network or the environment.
func newClient(o settings) (*api.Client, *http.Transport, error) {
	c := api.NewConfig()
	if c.Error != nil {
		return nil, nil, c.Error
	}
	c.Address, c.MaxRetries, c.Timeout = o.address, 0, 0 // contexts bound every call, and the set of seals retries
	err := c.ConfigureTLS(&api.TLSConfig{
		CACert: o.tls.caCert, CAPath: o.tls.caPath, ClientCert: o.tls.clientCert, ClientKey: o.tls.clientKey,
		TLSServerName: o.tls.serverName, Insecure: o.tls.skipVerify,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("tls: %w", err)
	}
	transport := c.HttpClient.Transport.(*http.Transport)
	transport.MaxConnsPerHost, transport.MaxIdleConnsPerHost = connections, connections
	client, err := api.NewClient(c)
	if err != nil {
		return nil, nil, err
	}
	c.HttpClient.Transport = remote.Limit(transport, maxReply)
	if o.namespace != "" {
		client.SetNamespace(o.namespace)
	}
	return client, transport, nil
}

// attempt runs a call with the current token. Where the server refuses the token and its file has a
// new one, it tries once more.
func (w *Wrapper) attempt(ctx context.Context, call func(context.Context) (*api.Secret, error)) (*api.Secret, error) {
	if err := w.refresh(w.tokens.Get); err != nil {
		return nil, err
	}
	used := w.client.Token()
	s, err := call(ctx)
	if status(err) != http.StatusForbidden {
		return s, err
	}
	if rerr := w.refresh(w.tokens.Reread); rerr != nil || w.client.Token() == used {
		return s, err
	}
	return call(ctx)
}

// refresh sets the client's token, and starts the renewal of a new token.
func (w *Wrapper) refresh(token func() (string, bool, error)) error {
	t, changed, err := token()
	if err != nil || !changed {
		return err
	}
	if w.client.Token() != "" {
		w.log.Info("the token of the transit seal was replaced", "seal", w.name)
	}
	w.client.SetToken(t)
	w.renewer.tokenChanged()
	return nil
}

// write sends a request to the engine.
func (w *Wrapper) write(ctx context.Context, operation string, body map[string]any) (*api.Secret, error) {
	return w.attempt(ctx, func(ctx context.Context) (*api.Secret, error) {
		return w.client.Logical().WriteWithContext(ctx, w.settings.mount+"/"+operation+"/"+w.settings.key, body)
	})
}

// neverAType is sent as the type of the key to create. Servers refuse it where the key is missing
// and ignore it otherwise. Without it, a server would replace a deleted key where the token may
// create keys.
const neverAType = "must-exist"

// encrypt returns the ciphertext as the server wrote it, and its key version.
func (w *Wrapper) encrypt(ctx context.Context, plain, aad []byte) (text, version string, warnings []string, err error) {
	body := map[string]any{"plaintext": base64.StdEncoding.EncodeToString(plain), "type": neverAType}
	if aad != nil {
		body["associated_data"] = base64.StdEncoding.EncodeToString(aad)
	}
	s, err := w.write(ctx, "encrypt", body)
	if err != nil {
		return "", "", nil, err
	}
	if s == nil {
		return "", "", nil, errAnswer
	}
	text, _ = s.Data["ciphertext"].(string)
	version, err = keyVersion(text)
	return text, version, s.Warnings, err
}

func (w *Wrapper) decrypt(ctx context.Context, text string, aad []byte) ([]byte, error) {
	body := map[string]any{"ciphertext": text}
	if aad != nil {
		body["associated_data"] = base64.StdEncoding.EncodeToString(aad)
	}
	s, err := w.write(ctx, "decrypt", body)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, errAnswer
	}
	encoded, ok := s.Data["plaintext"].(string)
	plain, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if !ok || err != nil {
		return nil, errAnswer
	}
	return plain, nil
}

// keyInfo is the part of the server's answer about a key that the seal uses.
type keyInfo struct {
	Kind          string `json:"type"`
	Latest        int    `json:"latest_version"`
	MinDecryption int    `json:"min_decryption_version"`
	MinAvailable  int    `json:"min_available_version"`
	AutoRotate    int    `json:"auto_rotate_period"` // seconds
	SoftDeleted   bool   `json:"soft_deleted"`
}

// readKey reads the key's state, which needs a permission of its own.
func (w *Wrapper) readKey(ctx context.Context) (keyInfo, error) {
	s, err := w.attempt(ctx, func(ctx context.Context) (*api.Secret, error) {
		return w.client.Logical().ReadWithContext(ctx, w.settings.mount+"/keys/"+w.settings.key)
	})
	if err != nil {
		return keyInfo{}, err
	}
	if s == nil {
		return keyInfo{}, errNoKey
	}
	raw, err := json.Marshal(s.Data)
	if err != nil {
		return keyInfo{}, err
	}
	var info keyInfo
	if err := json.Unmarshal(raw, &info); err != nil || info.Latest < 1 {
		return keyInfo{}, errAnswer
	}
	return info, nil
}

// renewToken renews the token for as long as the server allows. A lease of 0 is a token that does
// not expire.
func (w *Wrapper) renewToken(ctx context.Context) (lease time.Duration, renewable bool, err error) {
	if err := w.refresh(w.tokens.Get); err != nil {
		return 0, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, w.settings.timeout)
	defer cancel()
	s, err := w.client.Auth().Token().RenewSelfWithContext(ctx, 0)
	switch {
	case status(err) == http.StatusBadRequest: // "lease is not renewable"
		return 0, false, nil
	case err != nil:
		return 0, false, err
	case s == nil || s.Auth == nil:
		return 0, false, errAnswer
	}
	return time.Duration(s.Auth.LeaseDuration) * time.Second, s.Auth.Renewable, nil
}

// keyVersion returns the version in a ciphertext. It is strict, because a server accepts other
// spellings such as "vault:v01:".
//
//	vault:vN:base64
func keyVersion(text string) (string, error) {
	rest, ok := strings.CutPrefix(text, "vault:")
	version, encoded, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 || len(version) < 2 || len(version) > 10 || version[0] != 'v' || version[1] == '0' || encoded == "" {
		return "", errAnswer
	}
	for _, c := range version[1:] {
		if c < '0' || c > '9' {
			return "", errAnswer
		}
	}
	if _, err := base64.StdEncoding.Strict().DecodeString(encoded); err != nil || strings.ContainsAny(encoded, "\r\n") {
		return "", errAnswer
	}
	return version, nil
}
