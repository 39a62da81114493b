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

// Ages of credentials.
const (
	early  = 5 * time.Minute // how long before they expire new ones are asked for
	unread = time.Minute     // after which a file or variable that held some without an expiry is read again
)

// errNoCredentials is what every way of finding credentials ended with.
var errNoCredentials = errors.New("no usable AWS credentials were found")

// keeper keeps credentials, and asks for new ones with the context of the call that needs them: unlike the SDK's cache it
// leaves nothing running behind a deadline, and it sees that a file was replaced.
type keeper struct {
	load func(context.Context) (aws.Credentials, error)
	now  func() time.Time
	turn chan struct{} // held by the one that asks
	kept atomic.Pointer[kept]
}

type kept struct {
	value aws.Credentials
	until time.Time // new ones are asked for after this
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
			return old.value, nil // still good: they were asked for early so that this may fail
		}
		return aws.Credentials{}, seals.Classify(err)
	}
	until := k.now().Add(unread)
	if v.CanExpire {
		// Of what lasts shorter than twice the margin, the second half is the margin.
		until = v.Expires.Add(-min(early, v.Expires.Sub(k.now())/2))
	}
	k.kept.Store(&kept{v, until})
	return v, nil
}

// forget has the next call ask for new credentials, where these are the ones that are kept.
func (k *keeper) forget(used aws.Credentials) {
	if c := k.kept.Load(); c != nil && c.value.AccessKeyID == used.AccessKeyID && c.value.SessionToken == used.SessionToken {
		k.kept.CompareAndSwap(c, nil)
	}
}

// current is what the last call was signed with.
func (k *keeper) current() aws.Credentials {
	if c := k.kept.Load(); c != nil {
		return c.value
	}
	return aws.Credentials{}
}

// noCredentials classifies a failed search. What only did not answer may answer later.
func noCredentials(ctx context.Context, err error) error {
	cause := fmt.Errorf("%w: %w", errNoCredentials, brief(err))
	var network net.Error
	switch c := code(err); {
	case ctx.Err() != nil:
		return seals.Fail(seals.Unreachable, fmt.Errorf("%w: %w", cause, ctx.Err()),
			"see whether the source of the credentials answers: STS, the container's agent, or the instance's metadata service; "+
				"where there is to be none of them, name credentials in the stanza, the environment or a profile")
	case slices.Contains(answers[0].codes, c):
		return seals.Fail(seals.Throttled, cause, "wait, or ask AWS for a higher request quota of STS")
	case c == "" && errors.As(err, &network) && !strings.Contains(err.Error(), "ec2imds"): // which is asked when all else has nothing
		return seals.Fail(seals.Unreachable, cause,
			"see whether this host resolves and reaches STS, the container's agent, or whatever gives it credentials")
	case strings.HasPrefix(c, "AccessDenied"):
		return seals.Fail(seals.Denied, cause, "let these credentials assume the role: in the role's trust policy, and in their own")
	}
	return seals.Fail(seals.Denied, cause, "give the server credentials: access_key and secret_key, a profile, a web identity token, "+
		"or a role of the instance, task or pod")
}
