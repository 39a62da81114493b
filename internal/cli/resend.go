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

// resendPause is the time before a share is sent again, for the server or network to recover.
const resendPause = 2 * time.Second

func (b *base) pause(d time.Duration) {
	if b.env.Pause != nil {
		b.env.Pause(d)
		return
	}
	time.Sleep(d)
}

type sendingKey struct{}

// sending is the state of one request that carries a share.
type sending struct {
	wrote atomic.Bool // at least a part of it was sent
	again bool        // it was sent more than once
}

// sendShare runs a request that carries a share, and runs it once more if the connection broke
// after the request was sent. It is unknown then whether the server counted the share; after the
// last share, the response with the new shares is lost. Sealgate repeats its response to the last
// share. again reports whether the server may have received the share twice; then "already given"
// is no refusal.
func (b *base) sendShare(send func(context.Context) error) (again bool, err error) {
	s := &sending{}
	ctx := httptrace.WithClientTrace(context.WithValue(context.Background(), sendingKey{}, s),
		&httptrace.ClientTrace{WroteHeaders: func() { s.wrote.Store(true) }})
	err = send(ctx)
	if s.lost(err) {
		b.errorf("The response was lost: %v\nSending the share again.", err)
		b.pause(resendPause)
		s.again = true
		err = send(ctx)
	}
	if s.again && s.lost(err) {
		return true, &lostError{err}
	}
	return s.again, err
}

// lostError is a connection error after which it is unknown whether the server counted the share.
type lostError struct{ error }

func (e *lostError) Unwrap() error { return e.error }

// lost reports whether the request may have arrived but no response did.
func (s *sending) lost(err error) bool {
	var (
		answer *api.ResponseError
		syntax *json.SyntaxError
		kind   *json.UnmarshalTypeError
	)
	return err != nil && s.wrote.Load() && !errors.As(err, &answer) && !errors.As(err, &syntax) && !errors.As(err, &kind)
}

// retry leaves broken connections to [base.sendShare] and records a retry by the SDK.
func (s *sending) retry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if s.lost(err) {
		return false, err
	}
	again, err := retryOthers(ctx, resp, err)
	if again && resp != nil {
		s.again = true // a proxy that responds with 502 may have forwarded the share
	}
	return again, err
}

// alreadyGiven reports whether the server refused a share because it already has it.
func alreadyGiven(err error) bool {
	var re *api.ResponseError
	return errors.As(err, &re) && strings.Contains(re.Error(), "already been provided")
}
