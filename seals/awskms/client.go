package awskms

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealgate/sealgate/seals"
)

// API is the part of *kms.Client that this package calls.
type API interface {
	Encrypt(context.Context, *kms.EncryptInput, ...func(*kms.Options)) (*kms.EncryptOutput, error)
	Decrypt(context.Context, *kms.DecryptInput, ...func(*kms.Options)) (*kms.DecryptOutput, error)
	DescribeKey(context.Context, *kms.DescribeKeyInput, ...func(*kms.Options)) (*kms.DescribeKeyOutput, error)
	GetKeyRotationStatus(context.Context, *kms.GetKeyRotationStatusInput,
		...func(*kms.Options)) (*kms.GetKeyRotationStatusOutput, error)
}

// connection holds the client. The first call makes it, because that may have to look up the
// region.
type connection struct {
	mu     sync.Mutex
	api    API
	region string
	keeper *keeper // nil with NewWithClient
	source *source
	closed bool
}

// errClosed is the cause of calls after Close.
var errClosed = errors.New("the seal was closed")

func (c *connection) get(ctx context.Context) (API, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, seals.Fail(seals.Unreachable, errClosed, "the server is stopping or was reconfigured")
	case c.api != nil:
		return c.api, nil
	}
	cfg, err := c.source.first(ctx)
	if err != nil {
		return nil, err
	}
	cfg.Credentials = c.keeper
	c.region, c.api = cfg.Region, c.source.client(cfg)
	return c.api, nil
}

func (c *connection) where() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.region
}

func (c *connection) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.source != nil {
		c.source.close()
	}
}

// ask calls the KMS within the seal's timeout. Where AWS refuses the credentials, it renews them
// and tries once more.
func ask[In, Out any](
	ctx context.Context, w *Wrapper, doing, key string, call func(context.Context, API, In) (Out, error), in In,
) (Out, error) {
	var none Out
	ctx, cancel := context.WithTimeout(ctx, w.set.timeout)
	defer cancel()
	for again := false; ; again = true {
		if ctx.Err() != nil {
			return none, w.failure(ctx, doing, key, ctx.Err())
		}
		api, err := w.conn.get(ctx)
		if err != nil {
			return none, w.failure(ctx, doing, key, err)
		}
		var used aws.Credentials
		if w.conn.keeper != nil {
			used = w.conn.keeper.current()
		}
		out, err := call(withCall(ctx), api, in)
		if err == nil {
			return out, nil
		}
		if again || w.conn.keeper == nil || !slices.Contains(stale, code(err)) {
			return none, w.failure(ctx, doing, key, err)
		}
		if !used.HasKeys() {
			used = w.conn.keeper.current()
		}
		w.conn.keeper.forget(used)
	}
}

func encryptCall(ctx context.Context, a API, in *kms.EncryptInput) (*kms.EncryptOutput, error) {
	return a.Encrypt(ctx, in)
}

func decryptCall(ctx context.Context, a API, in *kms.DecryptInput) (*kms.DecryptOutput, error) {
	return a.Decrypt(ctx, in)
}

func describeCall(ctx context.Context, a API, in *kms.DescribeKeyInput) (*kms.DescribeKeyOutput, error) {
	return a.DescribeKey(ctx, in)
}

func rotationCall(ctx context.Context, a API, in *kms.GetKeyRotationStatusInput) (*kms.GetKeyRotationStatusOutput,
	error) {
	return a.GetKeyRotationStatus(ctx, in)
}
