package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sealgate/sealgate/internal/storage"
)

// SQLSTATEs (PostgreSQL manual, appendix A) that are handled.
const (
	stateDiskFull    = "53100"
	stateTooMany     = "53300" // connections
	stateReadOnly    = "25006"
	stateNoRight     = "42501"
	stateNoTable     = "42P01"
	stateNoSchema    = "3F000"
	stateLockTimeout = "55P03"
	stateCancelled   = "57014"
	stateShutdown    = "57P01"
	stateCrash       = "57P02"
	stateStarting    = "57P03"
	classConnection  = "08"
	classAuth        = "28"
	classResources   = "53"
	classOperator    = "57"
)

// severityError is the severity of errors that end a transaction, but not the connection.
const severityError = "ERROR"

// sqlState returns the SQLSTATE of an error; "" if it is not from the server.
func sqlState(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// transient reports errors that a new connection, or time, may resolve.
func transient(err error) bool {
	state := sqlState(err)
	switch {
	case err == nil || settled(err):
		return false
	case state == "":
		return true // the network
	case state == stateCancelled:
		return false
	}
	return state == stateReadOnly || state == stateTooMany ||
		strings.HasPrefix(state, classConnection) || strings.HasPrefix(state, classOperator)
}

// explain converts an error of a call to one of package storage: the caller's own end, Close, or
// cause and remedy.
func (s *Store) explain(ctx context.Context, doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case s.closing.Err() != nil:
		return storage.ErrClosed
	}
	return storageError(doing, err)
}

// storageError is explain for errors that neither the caller nor Close caused.
func storageError(doing string, err error) error {
	if err == nil || settled(err) {
		return err
	}
	if errors.Is(err, context.Canceled) { // by whileItHelps: the outage has lasted
		err = context.DeadlineExceeded
	}
	state := sqlState(err)
	switch {
	case state == stateDiskFull:
		return fmt.Errorf("%w: PostgreSQL's disk is full; free space on the database server: %w", storage.ErrFull, err)
	case state == stateNoTable, state == stateNoRight:
		return storage.Classified(storage.Denied, fmt.Errorf("%w: %s: check whether a table was dropped, or a right revoked,"+
			" while this program runs: %w", ErrTables, doing, err))
	}
	class, remedy := diagnose(state, err)
	if class == "" {
		return fmt.Errorf("postgres: %s: %w", doing, err)
	}
	return storage.Classified(class, fmt.Errorf("%w: %s: %s: %w", storage.ErrUnavailable, doing, remedy, err))
}

// diagnose returns the class of an outage and what to check; "" for other errors.
func diagnose(state string, err error) (storage.Class, string) {
	text := err.Error()
	switch {
	case state == stateReadOnly, errors.Is(err, errNotPrimary):
		return storage.ReadOnly, "the server takes no writes (a standby, or default_transaction_read_only); name the " +
			"primary, or all hosts, in connection_url"
	case state == stateTooMany:
		return storage.Exhausted, "the database has no free connection; raise its max_connections, or lower max_parallel"
	case strings.HasPrefix(state, classAuth):
		return storage.Denied, "the database refuses the user; check connection_url and pg_hba.conf"
	case state == stateStarting, state == stateShutdown, state == stateCrash:
		return storage.Unresponsive, "the database is starting or stopping"
	case state == stateCancelled, state == stateLockTimeout:
		return storage.Unresponsive, "the statement took too long"
	case strings.HasPrefix(state, classConnection):
		return storage.Unreachable, "the connection pooler does not reach PostgreSQL"
	case strings.HasPrefix(state, classResources):
		return storage.Exhausted, "the database is out of resources"
	case state != "":
		return "", ""
	case strings.Contains(text, "x509:"), strings.Contains(text, "tls:"), strings.Contains(text, "tls error"):
		return storage.Certificate, "TLS fails; check sslmode, sslrootcert, and the names in the server's certificate"
	case strings.Contains(text, "connection refused"), strings.Contains(text, "no such host"),
		strings.Contains(text, "no route to host"), strings.Contains(text, "no such file"):
		return storage.Unreachable, "PostgreSQL cannot be reached"
	case errors.Is(err, context.DeadlineExceeded):
		return storage.Unresponsive, "PostgreSQL does not respond in time"
	}
	return storage.Unresponsive, "PostgreSQL cannot be reached"
}

// settled reports errors of package storage.
func settled(err error) bool {
	for _, kind := range []error{storage.ErrUnavailable, storage.ErrCorrupt, storage.ErrForeign, storage.ErrNotFound,
		ErrConfig, ErrFormat, ErrTables} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return storage.NothingWritten(err)
}
