package transit

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/tools"
)

// maxDataKeys bounds the pairs of one request.
const maxDataKeys = 1000

// dataKeyRequest is what data keys are asked for: their size, how they are encrypted, and whether
// they are shown.
type dataKeyRequest struct {
	key   *keys.Key
	text  text
	size  int // bytes
	shown bool
}

func (b *backend) readDataKey(ctx context.Context, c *call) (r dataKeyRequest, err error) {
	switch c.segs[0] {
	case "plaintext":
		r.shown = true
	case "wrapped":
	default:
		return r, fault.New(fault.Invalid, "Invalid path, must be 'plaintext' or 'wrapped'")
	}
	if _, err := c.data.encoded("context", "failed to base64-decode context"); err != nil {
		return r, err
	}
	if r.key, err = b.use(ctx, c, 1, nil); err != nil {
		return r, err
	}
	if r.text, err = c.data.readText("plaintext", r.key, 0); err != nil {
		return r, err
	}
	bits := 256
	if c.data.given("bits") {
		if bits, err = c.data.number("bits"); err != nil {
			return r, err
		}
	}
	if bits != 128 && bits != 256 && bits != 512 {
		return r, fault.New(fault.Invalid, "invalid bit length")
	}
	r.size = bits / 8
	return r, nil
}

func (b *backend) makeDataKey(ctx context.Context, c *call, r *dataKeyRequest) (a ciphertextAnswer, err error) {
	plain := make([]byte, r.size)
	defer clear(plain)
	if _, err := io.ReadFull(b.rand, plain); err != nil {
		return a, fmt.Errorf("transit: reading random bytes for a data key: %w", err)
	}
	out, version, err := b.seal(ctx, c, nil, r.key, plain, &r.text)
	if err != nil {
		return a, err
	}
	r.key.CountUse(version, 1, c.by())
	a = ciphertextAnswer{Ciphertext: string(out), KeyVersion: version}
	if r.shown {
		a.Plaintext = base64.StdEncoding.EncodeToString(plain)
	}
	return a, nil
}

// dataKey makes a random key and encrypts it.
func (b *backend) dataKey(ctx context.Context, c *call) (*mount.Response, error) {
	r, err := b.readDataKey(ctx, c)
	if err != nil {
		return nil, err
	}
	a, err := b.makeDataKey(ctx, c, &r)
	if err != nil {
		return nil, err
	}
	return &mount.Response{Data: a}, nil
}

// dataKeys makes several.
func dataKeys(b *backend, ctx context.Context, c *call) (*mount.Response, error) {
	r, err := b.readDataKey(ctx, c)
	if err != nil {
		return nil, err
	}
	count := 1
	if c.data.given("count") {
		if count, err = c.data.number("count"); err != nil {
			return nil, err
		}
	}
	if count < 1 || count > maxDataKeys {
		return nil, fault.New(fault.Invalid, "count is %d; it can be from 1 to %d", count, maxDataKeys)
	}
	pairs := make([]ciphertextAnswer, count)
	for i := range pairs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if pairs[i], err = b.makeDataKey(ctx, c, &r); err != nil {
			return nil, err
		}
	}
	return &mount.Response{Data: struct {
		Pairs []ciphertextAnswer `json:"key_pairs"`
	}{pairs}}, nil
}

func (b *backend) random(_ context.Context, c *call) (*mount.Response, error) {
	return tools.Random(b.rand, field.Map(c.data), c.segs[:c.n])
}

func (b *backend) hash(_ context.Context, c *call) (*mount.Response, error) {
	return tools.Hash(field.Map(c.data), c.segs[:c.n])
}
