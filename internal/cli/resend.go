package cli

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	"github.com/openbao/openbao/api/v2"
)

// resendPause is given to a server, or the network, to come back.
const resendPause = 2 * time.Second

func (b *base) pause(d time.Duration) {
	if b.env.Pause != nil {
		b.env.Pause(d)
		return
	}
	time.Sleep(d)
}

type sendingKey struct{}

// sending is what becomes of one request that carries a share.
type sending struct {
	wrote atomic.Bool // some of it left this machine
	again bool        // it was sent more than once
}

// sendShare runs a request that carries a share, and runs it once more where the connection broke after it was sent: whether
// the share was counted is open then, and after the last one it is the new shares that are lost. A server of this project gives
// the answer to the last share again. again reports whether the server may have had the share before; then
// "already given" is no refusal.
func (b *base) sendShare(send func(context.Context) error) (again bool, err error) {
	s := &sending{}
	ctx := httptrace.WithClientTrace(context.WithValue(context.Background(), sendingKey{}, s),
		&httptrace.ClientTrace{WroteHeaders: func() { s.wrote.Store(true) }})
	err = send(ctx)
	if s.lost(err) {
		b.errorf("The reply was lost: %v\nThe share is sent once more.", err)
		b.pause(resendPause)
		s.again = true
		err = send(ctx)
	}
	if s.again && s.lost(err) {
		return true, &lostError{err}
	}
	return s.again, err
}

// lostError is the connection's error where the fate of a share stays open.
type lostError struct{ error }

func (e *lostError) Unwrap() error { return e.error }

// lost reports whether the request may have arrived, but no answer did.
func (s *sending) lost(err error) bool {
	var (
		answer *api.ResponseError
		syntax *json.SyntaxError
		kind   *json.UnmarshalTypeError
	)
	return err != nil && s.wrote.Load() && !errors.As(err, &answer) && !errors.As(err, &syntax) && !errors.As(err, &kind)
}

// retry leaves broken connections to [base.sendShare], and notes where the SDK itself sends the request anew.
func (s *sending) retry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if s.lost(err) {
		return false, err
	}
	again, err := retryOthers(ctx, resp, err)
	if again && resp != nil {
		s.again = true // a proxy that answers 502 may have handed the share on
	}
	return again, err
}

// alreadyGiven reports whether the server refused a share because it has it.
func alreadyGiven(err error) bool {
	var re *api.ResponseError
	return errors.As(err, &re) && strings.Contains(re.Error(), "already been provided")
}
