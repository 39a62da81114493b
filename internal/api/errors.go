package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/cluster"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// bare is an error with an empty list of texts: {"errors":[]} and this status.
type bare int

func (b bare) Error() string { return http.StatusText(int(b)) }

// Status is an error with a status for which package fault has no kind.
type Status struct {
	code int
	text string
}

func (s *Status) Error() string { return s.text }

// NewStatus returns an error with a status of its own.
func NewStatus(code int, text string) error { return &Status{code, text} }

var kinds = map[fault.Kind]int{
	fault.Internal:    http.StatusInternalServerError,
	fault.Invalid:     http.StatusBadRequest,
	fault.Denied:      http.StatusForbidden,
	fault.NotFound:    http.StatusNotFound,
	fault.Unsupported: http.StatusMethodNotAllowed,
	fault.TooLarge:    http.StatusRequestEntityTooLarge,
	fault.Limited:     http.StatusTooManyRequests,
	fault.Sealed:      http.StatusServiceUnavailable,
	fault.Unavailable: http.StatusServiceUnavailable,
}

// TextSealed is matched exactly by command-line clients.
const TextSealed = "Vault is sealed"

// refuse answers with an error, and logs what is not the client's fault.
func (h *Handler) refuse(q *Request, err error) {
	var empty bare
	if errors.As(err, &empty) {
		q.sendErrors(int(empty))
		return
	}
	if errors.Is(err, errUndone) {
		cluster.Undone(q.Out.Header())
	}
	code, text := h.judge(q, err)
	switch {
	case code == http.StatusInternalServerError:
		text = Bulleted(text)
	case q.authentic && (text == "unsupported path" || text == "unsupported operation"):
		text = Bulleted(text)
	}
	switch {
	case code == http.StatusInternalServerError:
		h.Log.Error("internal error", "request_id", q.ID(), "operation", q.Op.String(), "path", q.Path, "error", cause(err))
	case code >= 500 && text != TextSealed && !errors.Is(err, errUndone) && !errors.Is(err, context.Canceled):
		h.Log.Warn("request failed", "request_id", q.ID(), "operation", q.Op.String(), "path", q.Path, "status", code,
			"error", cause(err))
	case code < 500 && hasCause(err):
		h.Log.Debug("request denied", "request_id", q.ID(), "operation", q.Op.String(), "path", q.Path, "error", cause(err))
	}
	q.sendErrors(code, text)
}

// hasCause reports whether an error has more for the log than for the client.
func hasCause(err error) bool {
	var client *fault.Error
	return errors.As(err, &client) && client.Cause != nil
}

// judge returns the status and the client's text of an error.
func (h *Handler) judge(q *Request, err error) (int, string) {
	var own *Status
	var client *fault.Error
	switch {
	case errors.As(err, &own):
		return own.code, own.text
	case errors.As(err, &client) && client.Kind == fault.Internal:
		return http.StatusInternalServerError, fmt.Sprintf("%s (request id %s, under which the server's log has the cause)",
			client.Message, q.ID())
	case errors.As(err, &client):
		return kinds[client.Kind], client.Message
	case errors.Is(err, barrier.ErrSealed):
		return http.StatusServiceUnavailable, TextSealed
	case errors.Is(err, storage.ErrCorrupt):
		remedy := "; restore it from a backup"
		if strings.Contains(err.Error(), "restore it") {
			remedy = "" // the storage said it
		}
		return http.StatusInternalServerError, fmt.Sprintf("%v%s (request id %s)", err, remedy, q.ID())
	case errors.Is(err, barrier.ErrUncertain):
		return http.StatusServiceUnavailable, "writes are refused until storage can be read again; see whether it " +
			"works, then try again"
	case errors.Is(err, storage.ErrFull):
		return http.StatusServiceUnavailable, "no space is left in storage: nothing was written; make room, then try again"
	case errors.Is(err, storage.ErrTooLarge):
		return http.StatusRequestEntityTooLarge,
			fmt.Sprintf("the entry is too large: storage holds at most %d bytes in one; write several smaller ones",
				storage.MaxBytes)
	case errors.Is(err, storage.ErrConflict):
		return http.StatusConflict, "another request changed the entry at the same time: nothing was written; " +
			"read it and try again"
	case errors.Is(err, storage.ErrFenced):
		return http.StatusServiceUnavailable, "another node has become the leader: nothing was written; try again"
	case storage.ClassOf(err) != "":
		class, fails := storage.ClassOf(err), "fails"
		if class == storage.Unreachable || class == storage.Unresponsive || class == storage.NoQuorum {
			fails = "does not answer"
		}
		return http.StatusServiceUnavailable, fmt.Sprintf("the storage %s: the request may have taken effect (%s: %s); "+
			"check, then try again", fails, class, class.Remedy())
	case errors.Is(err, storage.ErrClosed):
		return http.StatusServiceUnavailable, "the server is stopping; try again"
	case errors.Is(err, storage.ErrInvalidKey):
		return http.StatusBadRequest, "the path cannot be stored: it is too long, or has an empty or relative segment"
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable, fmt.Sprintf(
			"the request was given up after %s (max_request_duration): it may have taken effect; check, then try again",
			h.Limits.Duration.Round(time.Millisecond))
	case errors.Is(err, context.Canceled):
		return http.StatusServiceUnavailable, "the request was cancelled"
	}
	return http.StatusInternalServerError, internalText(q)
}

// internalText is all that a client gets of an internal error.
func internalText(q *Request) string {
	return fmt.Sprintf("internal error; the server's log has the cause under request id %s", q.ID())
}

// cause returns the error with what the client does not get.
func cause(err error) string {
	var parts []string
	for ; err != nil; err = errors.Unwrap(err) {
		var client *fault.Error
		if errors.As(err, &client) {
			parts, err = append(parts, client.Message), client
			continue
		}
		return strings.Join(append(parts, err.Error()), ": ")
	}
	return strings.Join(parts, ": ")
}

// Bulleted returns Vault's other form of an error text, which its router gives to errors of
// backends.
func Bulleted(text string) string { return "1 error occurred:\n\t* " + text + "\n\n" }
