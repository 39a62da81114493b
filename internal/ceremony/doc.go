// Package ceremony carries out what a quorum of share holders authorises on an unsealed node:
// rekeys with their verification, generate-root, raw access and forced restores, the backup of
// encrypted shares, the list of holders, and the transcript.
//
// A ceremony is a [recovery.Ceremony]. This package stores it, serialises its steps, and commits
// its effect:
//
//	           Start                      Give (last share)
//	(none) ------------> Collecting ----------------------------------> effect + transcript record
//	  ^                   |  ^   |                                        (one commit, then none)
//	  |                   |  +---+ Give                                        ^
//	  |  Cancel, expiry,  |                                                    |
//	  |  shares replaced  |  Give (last share), with verification              |
//	  +-------------------+------------------------> Verifying ----------------+
//	  ^                                               |  ^   |   Verify (last share)
//	  |          Cancel, expiry                       |  +---+ Verify, Restart
//	  +-----------------------------------------------+
//
// It guarantees:
//   - Memory holds no ceremony. Each step is one storage commit behind the barrier, so a restart or
//     a change of leader continues where the last step ended.
//   - The effect of a ceremony, its end and its transcript record are one commit. The old shares
//     stay valid until that commit.
//   - The last step is idempotent: the same share with the same nonce returns the same answer until
//     it is acknowledged or its time is over (see answer.go).
//   - What a quorum authorises for one use ([Grants]) is used once, by the token that asked for it,
//     within [GrantTime].
//   - A share is judged without a lock and without a write, so a flood of wrong shares does not
//     delay a right one. No error, log line or record contains a share or a nonce.
//
// It does not decide who may start or cancel a ceremony: the API does, with the [Starter] it
// passes. It does not wrap or replace keys: that is the node's part, see [Keys].
//
// Stays compatible: the records below "core/ceremony/", "core/answer/", "core/backup/",
// "core/proven/" and "core/transcript/". Their formats are drawn at their types.
package ceremony

import (
	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/recovery"
)

// Paths behind the barrier.
const (
	pathCeremony = "core/ceremony/" // + purpose
	pathAnswer   = "core/answer/"   // + purpose
	pathBackup   = "core/backup/"   // + target
	pathProven   = "core/proven/"   // + target
)

// slots are the purposes that are stored. Each has room for one ceremony at a time.
var slots = []recovery.Purpose{
	recovery.PurposeRekeyBarrier, recovery.PurposeRekeyRecovery, recovery.PurposeGenerateRoot,
	recovery.PurposeAuthorizeRaw, recovery.PurposeAuthorizeRestore, recovery.PurposeAuthorizeSeals,
}

func ceremonyPath(p recovery.Purpose) string { return pathCeremony + string(p) }
func answerPath(p recovery.Purpose) string   { return pathAnswer + string(p) }
func backupPath(t recovery.Target) string    { return pathBackup + t.String() }
func provenPath(t recovery.Target) string    { return pathProven + t.String() }

// Discard adds to a transaction the end of every ceremony and kept answer: the shares change their
// role, and what was begun with them in the old one cannot be completed.
func Discard(tx *barrier.Tx) {
	for _, p := range slots {
		tx.Delete(ceremonyPath(p))
		tx.Delete(answerPath(p))
	}
}
