package node

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
)

// commitWatch notices, while the process runs, that the storage has lost commits that it had
// acknowledged: after the restore of an older image, or a failover to a replica that was behind.
// An anchor notices the same at a start; this needs none, and knows the last commits too.
type commitWatch struct {
	seen atomic.Uint64         // highest number of a commit that this process has seen
	lost atomic.Pointer[error] // the alarm; it stays until the process restarts
}

const (
	// commitsEvery is the time between two reads of the number of the storage's last commit, each of
	// which may take commitsWithin.
	commitsEvery, commitsWithin = 10 * time.Second, 5 * time.Second
	// reread bounds the end of a role whose memory is newer than the storage.
	reread = 10 * time.Second
)

// watchCommits is checkCommits while a role is used. Its end makes the next one read the storage as
// it is now.
func (i integrity) watchCommits(ctx context.Context) {
	n := i.n
	if i.checkCommits(ctx) && n.Clustered() && n.writer() != nil {
		ctx, cancel := context.WithTimeout(ctx, reread)
		defer cancel()
		if err := n.replica.StepDown(ctx); err != nil {
			n.log.Warn("the role whose memory is newer than the storage could not be ended", "error", err)
		}
	}
}

// checkCommits compares the number of the storage's last commit with what was seen, and returns
// whether it raised the alarm. The storage is served as it is, since nothing can bring the lost
// commits back from here.
func (i integrity) checkCommits(ctx context.Context) (raised bool) {
	n := i.n
	if n.cfg.LastCommit == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, commitsWithin)
	defer cancel()
	before, lost := n.commits.seen.Load(), false
	if a, ok := n.cfg.Store.(storage.Acknowledger); ok {
		var highest uint64
		highest, lost = a.Acknowledged()
		before = max(before, highest)
	}
	now, err := n.cfg.LastCommit(ctx)
	if err != nil {
		return false // the storage's own state reports that
	}
	if now >= before && !lost {
		storage.Raise(&n.commits.seen, now)
		return false
	}
	if n.commits.lost.Load() != nil {
		return false
	}
	err = fmt.Errorf("node: the storage lost commits that it had acknowledged: its last one has number %d, and up to "+
		"%d were seen before, as after the restore of an older image or a failover to a replica that was behind. What was "+
		"written in between is gone, revocations too; stop the nodes and restore the newest storage, or, if this one is "+
		"meant, restart them", now, before)
	n.commits.lost.Store(&err)
	n.cfg.Metrics.Counter("sealgate.storage.lost_commits").Inc()
	n.log.Error("ALARM: "+err.Error(), "class", "corrupt")
	return true
}
