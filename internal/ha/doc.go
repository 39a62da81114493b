// Package ha decides which role a node of a cluster has: one node leads and writes, the others
// follow.
//
// From unseal to seal a node is a standby and a leader in turn. Its keys stay open all the time, so
// that no change of role needs a seal:
//
//	        Start
//	          |
//	          v            elected                    core/leader is written
//	+--> standby -------------------> becoming leader -------------------> leader
//	|    follows, campaigns                |                                 |
//	|                                      | fails: resign, pause            | lease lost, StepDown,
//	+--------------------------------------+---------------------------------+ Retire, Stop
//
// A role is built anew each time: it has caches and locks of its own, and a [Fenced] store whose
// epoch never changes, so that nothing prepared in one role can be written in another.
//
// It guarantees:
//   - Only the current leader writes: each commit carries the leader's epoch, and the storage
//     checks it in the same transaction.
//   - A standby answers only what it has proven to be current: before it reads
//     ([Follower.Current]), or by what it reads, before the answer is sent ([Assumption]).
//   - A leader answers only while its lease is certain (storage.Leadership.Held), which the node
//     checks after it has read what it answers.
//   - A leader that steps down finishes the requests in flight, within a bound, before another node
//     is elected.
//
// It does not know what a role consists of: the [Host] builds roles. It does not forward requests:
// the API does, to the [Leader].
//
// Stays compatible: the entry "core/leader", drawn at leaderRecord; [Member] as sent to [PathEcho].
package ha
