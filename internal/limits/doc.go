// Package limits counts what a client may do too often: requests against rate-limit quotas, wrong
// credentials against the lock-out of an auth method, and refused shares.
//
// It guarantees that its memory is bounded whatever clients send: beyond a fixed number of clients
// the one that was idle for longest is forgotten. Counts are in memory alone; a restart forgets
// them, and no client can cause one. It knows no HTTP: callers turn its results into answers.
//
// Stays compatible: the JSON members of [Quota] and [Settings], which are stored behind the
// barrier.
package limits
