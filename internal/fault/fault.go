// Package fault is the error that reaches a client.
//
// An [Error] has a kind, which determines the HTTP status and the exit code of the command line,
// and a message with cause and remedy. What must not leave the process (paths, texts of SDKs,
// addresses) is in the wrapped cause, which is logged and never sent. Any other error is internal:
// the client gets a request id, and nothing more.
package fault

import (
	"errors"
	"fmt"
)

// Kind classifies an error by what the client can do about it.
type Kind int

// The kinds, each with the HTTP status that the API gives it.
const (
	Internal    Kind = iota // 500: a defect of the program or a broken store; the log has the cause
	Invalid                 // 400: the request is wrong and the message says how to correct it
	Denied                  // 403: no token, an unknown one, or one without the capability
	NotFound                // 404: the object does not exist
	Unsupported             // 405: the path exists, the operation does not
	TooLarge                // 413: more than a limit allows; the message names the limit
	Limited                 // 429: too many requests
	Sealed                  // 503: the node is sealed
	Unavailable             // 503: the storage or a seal is unavailable; trying again may help
)

// Error is an error for a client.
type Error struct {
	Kind    Kind
	Message string // for the client: cause and remedy, no secret, no nonce
	Cause   error  // for the log; may be nil
}

// Error returns the client's message alone.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause that is kept from the client.
func (e *Error) Unwrap() error { return e.Cause }

// New returns an error of a kind with a formatted message.
func New(k Kind, format string, args ...any) error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}

// Wrap returns an error of a kind whose cause is kept for the log.
func Wrap(cause error, k Kind, format string, args ...any) error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...), Cause: cause}
}

// KindOf returns the kind of the first [Error] in err's chain, [Internal] where there is none.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// Is reports whether err is of kind k.
func Is(err error, k Kind) bool { return err != nil && KindOf(err) == k }
