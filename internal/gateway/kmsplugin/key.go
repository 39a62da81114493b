package kmsplugin

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/gateway/kmsv2"
)

var _ kmsv2.Key = (*Client)(nil)

func ttlOf(r *reply) time.Duration {
	var data struct {
		TTL json.Number `json:"ttl"`
	}
	if json.Unmarshal(r.Data, &data) != nil {
		return 0
	}
	n, err := data.TTL.Int64()
	if err != nil || n < 0 {
		return 0
	}
	return time.Duration(n) * time.Second
}

var errAnswer = fault.New(fault.Unavailable, "the server's answer is not of the transit API")

// clusterID asks the cluster for its id, once.
func (c *Client) clusterID(ctx context.Context) (string, error) {
	if id := c.cluster.Load(); id != nil {
		return *id, nil
	}
	// Any state of a node is a 2xx here: the body counts.
	r, err := c.ask(ctx, http.MethodGet, "sys/seal-status", nil, nil)
	if err != nil {
		return "", err
	}
	if r.ClusterID == "" {
		return "", fault.New(fault.Unavailable, "the server is sealed, or does not say to which cluster it belongs")
	}
	c.cluster.Store(&r.ClusterID)
	return r.ClusterID, nil
}

// keyInfo is the part of keys/<name> that the plugin needs.
type keyInfo struct {
	Type        string                     `json:"type"`
	Latest      int                        `json:"latest_version"`
	Encrypts    bool                       `json:"supports_encryption"`
	Derived     bool                       `json:"derived"`
	SoftDeleted bool                       `json:"soft_deleted"`
	Keys        map[string]json.RawMessage `json:"keys"`
}

// Newest implements [kmsv2.Key]. The fingerprint of a version is what the server shows of it: the
// time at which it was made, and the public key where it has one.
func (c *Client) Newest(ctx context.Context) (p kmsv2.Pin, err error) {
	cluster, err := c.clusterID(ctx)
	if err != nil {
		return p, err
	}
	r, err := c.call(ctx, http.MethodGet, c.o.Mount+"/keys/"+c.o.Key, nil)
	if err != nil {
		return p, err
	}
	var k keyInfo
	if err := json.Unmarshal(r.Data, &k); err != nil || k.Latest < 1 {
		return p, errAnswer
	}
	switch {
	case k.SoftDeleted:
		return p, fault.New(fault.NotFound, "the transit key is soft-deleted")
	case !k.Encrypts || k.Derived:
		return p, fault.New(fault.NotFound, "the transit key cannot be used: choose one that encrypts and is not derived")
	}
	made := bytes.TrimSpace(k.Keys[strconv.Itoa(k.Latest)])
	if len(made) == 0 {
		return p, errAnswer
	}
	fingerprint := made
	var details struct {
		Made   string `json:"creation_time"`
		Public string `json:"public_key"`
	}
	if json.Unmarshal(made, &details) == nil && details.Made != "" {
		fingerprint = []byte(details.Made + "\x00" + details.Public)
	}
	p.Version, p.KeyID = k.Latest, kmsv2.KeyID(cluster, c.o.Mount, c.o.Key, k.Latest, fingerprint)
	return p, nil
}

// neverAType is no type of a key: a server refuses it where the key is missing, so that none is
// made in the place of a deleted one, and ignores it otherwise.
const neverAType = "must-exist"

// Encrypt implements [kmsv2.Key].
func (c *Client) Encrypt(ctx context.Context, _ kmsv2.Call, p kmsv2.Pin, plaintext, aad []byte) ([]byte, error) {
	body := map[string]any{"plaintext": base64.StdEncoding.EncodeToString(plaintext), "key_version": p.Version,
		"type": neverAType}
	if aad != nil {
		body["associated_data"] = base64.StdEncoding.EncodeToString(aad)
	}
	r, err := c.call(ctx, http.MethodPost, c.o.Mount+"/encrypt/"+c.o.Key, body)
	if err != nil {
		return nil, err
	}
	var data struct {
		Ciphertext string `json:"ciphertext"`
	}
	if err := json.Unmarshal(r.Data, &data); err != nil {
		return nil, errAnswer
	}
	if version, _, err := kmsv2.SplitCiphertext([]byte(data.Ciphertext)); err != nil || version != p.Version {
		return nil, errAnswer
	}
	return []byte(data.Ciphertext), nil
}

// Decrypt implements [kmsv2.Key].
func (c *Client) Decrypt(ctx context.Context, _ kmsv2.Call, _ string, ciphertext, aad []byte) ([]byte, error) {
	if _, _, err := kmsv2.SplitCiphertext(ciphertext); err != nil {
		return nil, err
	}
	body := map[string]any{"ciphertext": string(ciphertext)}
	if aad != nil {
		body["associated_data"] = base64.StdEncoding.EncodeToString(aad)
	}
	r, err := c.call(ctx, http.MethodPost, c.o.Mount+"/decrypt/"+c.o.Key, body)
	if err != nil {
		return nil, err
	}
	defer clear(r.Data)
	var data struct {
		Plaintext []byte `json:"plaintext"`
	}
	if err := json.Unmarshal(r.Data, &data); err != nil {
		return nil, errAnswer
	}
	return data.Plaintext, nil
}
