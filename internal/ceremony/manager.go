package ceremony

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/recovery"
)

// Unsealed is the part of an unsealed node that ceremonies read and write.
type Unsealed struct {
	Barrier *barrier.Barrier
	Tokens  *token.Store
	Standby bool // nothing can be written
}

// ShareState is who holds shares of the node's keys.
type ShareState struct {
	Cluster      string             // id
	ShareSet     *recovery.ShareSet // nil: there are no shares
	Previous     bool               // a replaced share set can still unseal
	SharesUnseal bool               // the shares are of the root key: they decrypt, not only authorise
	BreakGlass   bool               // the holders of the recovery shares are enrolled for break-glass
}

// Host is the node that ceremonies act on.
type Host interface {
	// Unsealed fails with a fault of kind Sealed while there is no open barrier.
	Unsealed() (Unsealed, error)
	ShareState() ShareState
	// TranscriptHead returns the entry at TranscriptHeadPath, nil where there is none. It fails where
	// the entry is not the attested one.
	TranscriptHead(ctx context.Context) ([]byte, error)
}

// Keys changes the node's keys and share sets. Each method commits tx together with the records
// that its change needs, and updates the node's memory to match. The caller holds the lock.
type Keys interface {
	// ReplaceRecovery makes next the recovery share set. Where the quorum before was enrolled for
	// break-glass it renews the root key too.
	ReplaceRecovery(ctx context.Context, tx *barrier.Tx, next *recovery.ShareSet) error
	// RenewRoot replaces the root key, and the unseal share set by next where next is not nil. Unless
	// the holders have proven their new shares, the replaced set can still unseal.
	RenewRoot(ctx context.Context, tx *barrier.Tx, next *recovery.ShareSet, proven bool) error
	// EndPrevious ends the replaced unseal share set.
	EndPrevious(ctx context.Context, tx *barrier.Tx) error
	// Attest adds to tx the attestation of a new transcript head. It does not commit.
	Attest(ctx context.Context, tx *barrier.Tx) error
}

// Config configures a [Manager].
type Config struct {
	Host Host
	Keys Keys
	Lock sync.Locker // serialises every change of the node's keys, share sets and ceremonies

	Expiry     time.Duration // of a ceremony that was started with a token
	KeepAnswer time.Duration // how long the answer to a last share is kept; <= 0: not at all

	Log  *slog.Logger
	Now  func() time.Time
	Rand io.Reader
}

// Manager carries out the ceremonies of one node. It is safe for concurrent use.
type Manager struct {
	Config

	// answerEnds is the time at which kept answers are wiped, Unix ns; 0: not before they are known to
	// have arrived. Stored under Lock.
	answerEnds atomic.Int64

	// Recorded receives after a commit of ceremonies and changes that may have added a record; changes
	// of the seals do not report here.
	Recorded chan struct{}

	coSigning sync.Mutex // held while co-signatures are changed; taken after Lock

	Grants    *Grants    // what quorums authorised for one use
	Enrolment *Enrolment // of the quorum for break-glass
}

// New returns a Manager. Every field of c is required.
func New(c Config) *Manager {
	m := &Manager{Config: c, Recorded: make(chan struct{}, 1)}
	m.Grants = &Grants{m: m, unused: map[recovery.Purpose]grant{}}
	m.Enrolment = &Enrolment{m: m, running: map[recovery.Purpose]*enrolmentAttempt{}}
	return m
}

func (m *Manager) shareSet() *recovery.ShareSet { return m.Host.ShareState().ShareSet }

// ErrNoShares is returned for a server without shares.
var ErrNoShares = fault.New(fault.Invalid,
	"nobody holds shares of this server: it was initialised without recovery shares")
