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

// is reports whether err is one of etcd's own errors.
func is(err error, want ...error) bool {
	err = rpctypes.Error(err)
	for _, w := range want {
		if errors.Is(err, w) {
			return true
		}
	}
	return false
}

// explain says what an error of a call means: cause, and remedy where there is one.
func (s *Store) explain(ctx context.Context, doing string, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("etcd: %s: %w", doing, ctx.Err())
	case s.closing.Err() != nil:
		return storage.ErrClosed
	case is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%w: etcd at %s has reached its quota: compact and defragment it, or raise --quota-backend-bytes,"+
			" then run etcdctl alarm disarm", storage.ErrFull, s.where())
	case is(err, rpctypes.ErrAuthFailed) && s.o.Username != "":
		return fmt.Errorf("%w the user %q: the name or the password is wrong: correct username and password"+
			" (ETCD_USERNAME, ETCD_PASSWORD)", ErrDenied, s.o.Username)
	case is(err, rpctypes.ErrUserEmpty, rpctypes.ErrPermissionDenied, rpctypes.ErrAuthFailed) && s.o.Username == "":
		return fmt.Errorf("%w: %s: etcd wants a user that may read and write below %s: set username and password (ETCD_USERNAME,"+
			" ETCD_PASSWORD), or a client certificate with the user's name", ErrDenied, doing, s.keys.base)
	case is(err, rpctypes.ErrPermissionDenied):
		return fmt.Errorf("%w: %s: the user %q may not: run etcdctl role grant-permission ROLE readwrite --prefix=true %s",
			ErrDenied, doing, s.o.Username, s.keys.base)
	case is(err, rpctypes.ErrCompacted):
		return fmt.Errorf("etcd: %s: %w; do it again", doing, errCompacted)
	case is(err, rpctypes.ErrCorrupt):
		return fmt.Errorf("%w: etcd at %s says that its members differ", storage.ErrCorrupt, s.where())
	}
	return fmt.Errorf("%w: %s: etcd at %s %s", storage.ErrUnavailable, doing, s.where(), s.cause(err))
}

var errCompacted = errors.New("the history that it needs was compacted meanwhile")

// cause tells why there is no answer, and what to look at.
func (s *Store) cause(err error) string {
	text := status.Convert(err).Message()
	if len(text) > 400 {
		text = text[:400]
	}
	switch {
	case strings.Contains(text, "certificate signed by unknown authority"):
		return "has a certificate of an unknown authority: set tls_ca_file (" + text + ")"
	case strings.Contains(text, "x509:"):
		return "has a certificate that does not fit: look at tls_ca_file and the names in the certificate (" + text + ")"
	case strings.Contains(text, "tls: certificate required"), strings.Contains(text, "remote error: tls: bad certificate"),
		strings.Contains(text, "remote error: tls: unknown certificate"):
		return "refuses the client's certificate: set tls_cert_file and tls_key_file to one that it trusts (" + text + ")"
	case strings.Contains(text, "first record does not look like a TLS handshake"),
		strings.HasSuffix(text, `authentication handshake failed: EOF"`):
		return "speaks no TLS: it listens for http, or another program does (" + text + ")"
	case closed(text) && !s.o.secure():
		return "closed the connection: it may want https (" + text + ")"
	case closed(text) && s.o.CertFile == "": // TLS 1.3 tells late that a certificate is missing, and not to who is writing just then
		return "closed the connection: it may want a client's certificate, so set tls_cert_file and tls_key_file (" + text + ")"
	case status.Code(err) == codes.DeadlineExceeded:
		return fmt.Sprintf("did not answer within %s (request_timeout): see that it runs, has a quorum and can be reached (%s)",
			s.o.RequestTimeout, text)
	case is(err, rpctypes.ErrNoLeader, rpctypes.ErrTimeout, rpctypes.ErrTimeoutDueToLeaderFail, rpctypes.ErrTimeoutDueToConnectionLost,
		rpctypes.ErrLeaderChanged, rpctypes.ErrUnhealthy):
		return "has no quorum, or is electing a leader: see that most of its members run (" + text + ")"
	}
	return "failed (" + text + ")"
}

// closed reports whether the other side hung up on a connection that had just begun.
func closed(text string) bool {
	if strings.Contains(text, "use of closed network connection") { // it was this side, out of patience
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
