package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sealgate/sealgate/internal/storage"
)

// SQLSTATEs (PostgreSQL manual, appendix A) that mean something to us.
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

// severityError is that of errors which end a transaction, and not the connection.
const severityError = "ERROR"

// sqlState returns the SQLSTATE of an error, "" for one that is not the server's.
func sqlState(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// transient reports errors that a new connection, or some time, may mend.
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

// explain turns an error of a call into the contract's: the caller's own end, Close, or what happened and what to do.
func (s *Store) explain(ctx context.Context, doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case s.closing.Err() != nil:
		return storage.ErrClosed
	}
	return told(doing, err)
}

// told is explain for errors that are nobody's wish.
func told(doing string, err error) error {
	state := sqlState(err)
	remedy, kind := "", storage.ErrUnavailable
	switch {
	case err == nil || settled(err):
		return err
	case state == stateDiskFull:
		return fmt.Errorf("%w: PostgreSQL's disk is full; make room on the database server: %w", storage.ErrFull, err)
	case state == stateReadOnly, errors.Is(err, errNotPrimary):
		remedy = "the server takes no writes (a standby, or default_transaction_read_only); name the primary, or all hosts, in connection_url"
	case state == stateTooMany:
		remedy = "raise max_connections of the database, or lower max_parallel"
	case state == stateNoTable, state == stateNoRight:
		kind, remedy = ErrTables, "was a table dropped, or a right revoked, while this program runs?"
	case strings.HasPrefix(state, classAuth):
		remedy = "the database refuses the user; check connection_url and pg_hba.conf"
	case state == stateStarting, state == stateShutdown, state == stateCrash:
		remedy = "the database is starting or stopping"
	case state == stateCancelled, state == stateLockTimeout:
		remedy = "the statement took too long"
	case state == "" && errors.Is(err, context.DeadlineExceeded):
		remedy = "PostgreSQL does not answer in time"
	case state == "":
		remedy = "PostgreSQL cannot be reached"
	case strings.HasPrefix(state, classResources):
		remedy = "the database is out of resources"
	default:
		return fmt.Errorf("postgres: %s: %w", doing, err)
	}
	return fmt.Errorf("%w: %s: %s: %w", kind, doing, remedy, err)
}

// settled reports errors that are the contract's already.
func settled(err error) bool {
	for _, kind := range []error{storage.ErrUnavailable, storage.ErrCorrupt, storage.ErrForeign, storage.ErrNotFound,
		ErrConfig, ErrFormat, ErrTables} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return storage.NothingWritten(err)
}
