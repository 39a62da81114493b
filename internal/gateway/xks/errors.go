package xks

import (
	"errors"
	"fmt"
	"net/http"
)

// Error is an answer of the XKS API: AWS KMS chooses the text that its caller sees by Name.
type Error struct {
	Name    string
	Message string // printable ASCII, below 512 characters; it is shown in the customer's logs
	Cause   error  // for the log only
}

// Error implements error.
func (e *Error) Error() string { return e.Name + ": " + e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// The error names of the specification, section "Errors".
const (
	Validation           = "ValidationException"
	InvalidState         = "InvalidStateException"
	InvalidCiphertext    = "InvalidCiphertextException"
	InvalidKeyUsage      = "InvalidKeyUsageException"
	AuthenticationFailed = "AuthenticationFailedException"
	AccessDenied         = "AccessDeniedException"
	KeyNotFound          = "KeyNotFoundException"
	InvalidURIPath       = "InvalidUriPathException"
	Throttling           = "ThrottlingException"
	Internal             = "InternalException"
	UnsupportedOperation = "UnsupportedOperationException"
	DependencyTimeout    = "DependencyTimeoutException"
)

var statuses = map[string]int{
	Validation:           http.StatusBadRequest,
	InvalidState:         http.StatusBadRequest,
	InvalidCiphertext:    http.StatusBadRequest,
	InvalidKeyUsage:      http.StatusBadRequest,
	AuthenticationFailed: http.StatusUnauthorized,
	AccessDenied:         http.StatusForbidden,
	KeyNotFound:          http.StatusNotFound,
	InvalidURIPath:       http.StatusNotFound,
	Throttling:           http.StatusTooManyRequests,
	Internal:             http.StatusInternalServerError,
	UnsupportedOperation: http.StatusNotImplemented,
	DependencyTimeout:    http.StatusServiceUnavailable,
}

// status is the HTTP status of the error.
func (e *Error) status() int {
	if s, ok := statuses[e.Name]; ok {
		return s
	}
	return http.StatusInternalServerError
}

func fail(name, format string, args ...any) *Error {
	return &Error{Name: name, Message: fmt.Sprintf(format, args...)}
}

// asError gives any error a name. One that has none is internal, and its text stays in the log.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Name: Internal, Message: "the request could not be completed; see the proxy's log", Cause: err}
}
