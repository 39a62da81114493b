package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sealgate/sealgate/internal/storage"
)

// isAny reports whether err is one of these errors of etcd.
func isAny(err error, want ...error) bool {
	err = rpctypes.Error(err)
	for _, w := range want {
		if errors.Is(err, w) {
			return true
		}
	}
	return false
}

// explain returns an error with cause and remedy, and its class.
func (s *Store) explain(ctx context.Context, doing string, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("etcd: %s: %w", doing, ctx.Err())
	case s.closing.Err() != nil:
		return storage.ErrClosed
	case isAny(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%w: etcd at %s has reached its quota: compact and defragment it, or raise --quota-backend-bytes,"+
			" then run etcdctl alarm disarm", storage.ErrFull, s.where())
	case isAny(err, rpctypes.ErrUserEmpty, rpctypes.ErrPermissionDenied, rpctypes.ErrAuthFailed):
		return storage.Classified(storage.Denied, s.denied(doing, err))
	case isAny(err, rpctypes.ErrCompacted):
		return fmt.Errorf("etcd: %s: %w; try again", doing, errCompacted)
	case isAny(err, rpctypes.ErrCorrupt):
		return fmt.Errorf("%w: etcd at %s reports that its members' data differ", storage.ErrCorrupt, s.where())
	}
	class, cause := s.cause(err)
	return storage.Classified(class, fmt.Errorf("%w: %s: etcd at %s %s", storage.ErrUnavailable, doing, s.where(), cause))
}

// denied explains a refused user or permission.
func (s *Store) denied(doing string, err error) error {
	switch {
	case s.o.Username == "":
		return fmt.Errorf("%w: %s: etcd requires a user with read and write permission below %s: set username and password "+
			"(ETCD_USERNAME,"+
			" ETCD_PASSWORD), or a client certificate with the user's name", ErrDenied, doing, s.keys.base)
	case isAny(err, rpctypes.ErrPermissionDenied):
		return fmt.Errorf("%w: %s: the user %q has no permission: run etcdctl role grant-permission ROLE readwrite "+
			"--prefix=true %s",
			ErrDenied, doing, s.o.Username, s.keys.base)
	}
	return fmt.Errorf("%w the user %q: the name or the password is wrong: correct username and password"+
		" (ETCD_USERNAME, ETCD_PASSWORD)", ErrDenied, s.o.Username)
}

var errCompacted = errors.New("the required history was compacted meanwhile")

// cause returns why there is no response, and what to check.
func (s *Store) cause(err error) (storage.Class, string) {
	text := status.Convert(err).Message()
	if len(text) > 400 {
		text = text[:400]
	}
	switch {
	case strings.Contains(text, "certificate signed by unknown authority"):
		return storage.Certificate, "has a certificate of an unknown CA: set tls_ca_file (" + text + ")"
	case strings.Contains(text, "x509:"):
		return storage.Certificate, "has a certificate that does not match: check tls_ca_file and the names in the " +
			"certificate (" + text + ")"
	case strings.Contains(text, "tls: certificate required"), strings.Contains(text, "remote error: tls: bad certificate"),
		strings.Contains(text, "remote error: tls: unknown certificate"):
		return storage.Certificate, "refuses the client certificate: set tls_cert_file and tls_key_file to one that it " +
			"trusts (" + text + ")"
	case strings.Contains(text, "first record does not look like a TLS handshake"),
		strings.HasSuffix(text, `authentication handshake failed: EOF"`):
		return storage.Unresponsive, "does not use TLS: it listens for http, or another program listens there (" + text + ")"
	case lost(text):
		return storage.Unresponsive, "closed the connection during the call: check that it runs (" + text + ")"
	case closed(text) && !s.o.secure():
		return storage.Unresponsive, "closed the connection: it may require https (" + text + ")"
	case closed(text) && s.o.CertFile == "": // TLS 1.3 reports a missing certificate late, and not to a pending write
		return storage.Unresponsive, "closed the connection: it may require a client certificate, so set tls_cert_file and " +
			"tls_key_file (" + text + ")"
	case unreachable(text):
		return storage.Unreachable, "cannot be reached: start it, or correct address and network (" + text + ")"
	case status.Code(err) == codes.DeadlineExceeded, timedOut(text):
		return storage.Unresponsive, fmt.Sprintf("did not answer within %s (request_timeout): check that it runs, has a "+
			"quorum and is reachable (%s)", s.o.RequestTimeout, text)
	case isAny(err, rpctypes.ErrNoLeader, rpctypes.ErrTimeout, rpctypes.ErrTimeoutDueToLeaderFail,
		rpctypes.ErrTimeoutDueToConnectionLost,
		rpctypes.ErrLeaderChanged, rpctypes.ErrUnhealthy):
		return storage.NoQuorum, "has no quorum, or is electing a leader: check that most of its members run (" + text + ")"
	}
	return storage.Unresponsive, "failed (" + text + ")"
}

// unreachable reports whether no connection was made.
func unreachable(text string) bool {
	for _, sign := range []string{"connection refused", "no such host", "no route to host", "network is unreachable"} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}

// timedOut reports whether an attempt to connect ended at its deadline. gRPC then closes the
// connection, and returns whichever error comes first: the deadline's or that of the reader.
func timedOut(text string) bool {
	for _, sign := range []string{"use of closed network connection", "context deadline exceeded", "i/o timeout"} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}

// lost reports whether a connection that worked ended before the answer.
func lost(text string) bool {
	for _, sign := range []string{"error reading from server", "transport is closing", "keepalive ping failed"} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}

// closed reports whether the peer closed a connection that had just begun.
func closed(text string) bool {
	if timedOut(text) {
		return false
	}
	for _, sign := range []string{"error reading server preface", "broken pipe", "connection reset"} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}

func (s *Store) where() string { return strings.Join(s.o.Endpoints, ",") }
