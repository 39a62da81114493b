package awskms

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sealgate/sealgate/seals"
)

const (
	early  = 5 * time.Minute // credentials are renewed this long before they expire
	unread = time.Minute     // credentials without an expiry are read again after this
)

// errNoCredentials is the cause where no source had usable credentials.
var errNoCredentials = errors.New("no usable AWS credentials were found")

// keeper caches credentials and renews them with the context of the call that needs them. Unlike
// the SDK's cache it leaves nothing running after a deadline, and it notices a replaced file.
type keeper struct {
	load func(context.Context) (aws.Credentials, error)
	now  func() time.Time
	turn chan struct{} // semaphore: one renewal at a time
	kept atomic.Pointer[kept]
}

type kept struct {
	value aws.Credentials
	until time.Time // when to renew
}

func newKeeper(load func(context.Context) (aws.Credentials, error), now func() time.Time) *keeper {
	return &keeper{load: load, now: now, turn: make(chan struct{}, 1)}
}

// Retrieve implements aws.CredentialsProvider.
func (k *keeper) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if c := k.kept.Load(); c != nil && k.now().Before(c.until) {
		return c.value, nil
	}
	select {
	case k.turn <- struct{}{}:
	case <-ctx.Done():
		return aws.Credentials{}, ctx.Err()
	}
	defer func() { <-k.turn }()
	old := k.kept.Load()
	if old != nil && k.now().Before(old.until) {
		return old.value, nil
	}
	v, err := k.load(ctx)
	if err != nil {
		if old != nil && old.value.CanExpire && k.now().Before(old.value.Expires) {
			return old.value, nil // still valid: an early renewal may fail
		}
		return aws.Credentials{}, seals.Classify(err)
	}
	until := k.now().Add(unread)
	if v.CanExpire {
		// Renew at half of a lifetime that is shorter than twice the margin.
		until = v.Expires.Add(-min(early, v.Expires.Sub(k.now())/2))
	}
	k.kept.Store(&kept{v, until})
	return v, nil
}

// forget drops the cached credentials if they are the given ones.
func (k *keeper) forget(used aws.Credentials) {
	if c := k.kept.Load(); c != nil && c.value.AccessKeyID == used.AccessKeyID &&
		c.value.SessionToken == used.SessionToken {
		k.kept.CompareAndSwap(c, nil)
	}
}

// current returns the cached credentials, zero without any.
func (k *keeper) current() aws.Credentials {
	if c := k.kept.Load(); c != nil {
		return c.value
	}
	return aws.Credentials{}
}

// noCredentials classifies a failed search for credentials. A source that did not answer may do so
// later.
func noCredentials(ctx context.Context, err error) error {
	cause := fmt.Errorf("%w: %w", errNoCredentials, brief(err))
	var network net.Error
	switch c := code(err); {
	case ctx.Err() != nil:
		return seals.Fail(seals.Unreachable, fmt.Errorf("%w: %w", cause, ctx.Err()),
			"check that the source of the credentials answers: STS, the container's agent or the instance's "+
				"metadata service; "+
				"without any of these, set credentials in the stanza, the environment or a profile")
	case slices.Contains(answers[0].codes, c):
		return seals.Fail(seals.Throttled, cause, "wait, or ask AWS for a higher request quota of STS")
	// IMDS is the last source of the chain: no answer of it means that there are no credentials.
	case c == "" && errors.As(err, &network) && !strings.Contains(err.Error(), "ec2imds"):
		return seals.Fail(seals.Unreachable, cause,
			"check that this host resolves and reaches the source of its credentials: STS or the container's agent")
	case strings.HasPrefix(c, "AccessDenied"):
		return seals.Fail(seals.Denied, cause,
			"allow these credentials to assume the role, in the role's trust policy and in their own policy")
	}
	return seals.Fail(seals.Denied, cause,
		"configure credentials: access_key and secret_key, a profile, a web identity token, "+
			"or a role of the instance, task or pod")
}
