package awskms

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// TestSessionLimits: a session that is renewed in time does not end its seal; one whose source
// gives no new credentials does.
func TestSessionLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &Wrapper{}
		works := true
		w.conn.keeper = newKeeper(func(context.Context) (aws.Credentials, error) {
			if !works {
				return aws.Credentials{}, errNoCredentials
			}
			return aws.Credentials{AccessKeyID: "a", SecretAccessKey: "b", CanExpire: true, Source: "test",
				Expires: time.Now().Add(time.Hour)}, nil
		}, time.Now)
		renews := func(want bool) {
			t.Helper()
			if _, err := w.conn.keeper.Retrieve(t.Context()); err != nil {
				t.Fatal(err)
			}
			limits, err := w.Limits(t.Context())
			if err != nil || len(limits) != 1 || limits[0].Renews != want {
				t.Errorf("%+v, %v", limits, err)
			}
		}
		if limits, err := w.Limits(t.Context()); err != nil || len(limits) != 0 {
			t.Errorf("%+v, %v", limits, err)
		}
		renews(true)
		time.Sleep(58 * time.Minute)
		renews(true)
		works = false
		time.Sleep(58 * time.Minute)
		renews(false)
	})
}
