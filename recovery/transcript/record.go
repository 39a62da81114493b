package transcript

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/sealgate/sealgate/recovery"
)

// Bounds of one record.
const (
	MaxShares = 255
	maxText   = 256
	maxReason = 1024
)

// ErrRecord is returned for a record beyond its bounds, and for bytes that are not a record.
var ErrRecord = errors.New("not a valid transcript record")

// Outcome is the end of a ceremony.
type Outcome string

// The outcomes.
const (
	Completed Outcome = "completed"
	Cancelled Outcome = "cancelled" // EndedBy says by whom
	Expired   Outcome = "expired"
	Failed    Outcome = "failed" // Reason says why
)

// Share is one share that was submitted or proven.
type Share struct {
	Number int
	Name   string // its holder's, "" if the shares have no names
	At     time.Time
}

// Record describes one ceremony. Texts are valid UTF-8 of at most 256 bytes, Reason of 1024. Lists
// have at most 255 entries. Numbers are not negative. Times are between 1970 and 2262, or zero for
// none.
type Record struct {
	Cluster string
	Purpose string // the ceremony's, or another word for a record without one
	Nonce   string

	Started         time.Time
	StartedBy       string // display name of the token
	StartedAccessor string

	Required     int // shares that were required
	Shares       int // of the new share set
	Threshold    int
	Verification bool
	Backup       bool
	Fingerprints []string
	Holders      []string

	Given  []Share
	Proven []Share // new shares, in the verification

	Outcome       Outcome
	Reason        string
	Finished      time.Time
	EndedBy       string // display name of the token that ended it, "" for none
	EndedAccessor string

	GenerationBefore uint64 // of the share set; 0 for none
	GenerationAfter  uint64
}

// Of returns the record of a ceremony's state. authority is the share set that authorised it, or
// nil. The caller sets Cluster, Finished, EndedBy, Outcome, Reason and GenerationAfter.
func Of(c *recovery.Ceremony, authority *recovery.ShareSet) Record {
	r := Record{
		Purpose: string(c.Purpose), Nonce: c.Nonce,
		Started: c.Started, StartedBy: c.StartedBy, StartedAccessor: c.StartedAccessor,
		Required: c.Required, Shares: c.Params.Shares, Threshold: c.Params.Threshold,
		Verification: c.Params.Verification, Backup: c.Params.Backup,
		Fingerprints: c.Params.Fingerprints, Holders: c.Params.Holders,
	}
	if authority != nil {
		r.GenerationBefore, r.GenerationAfter = authority.Generation, authority.Generation
		if authority.ID != c.ShareSet {
			authority = nil // its names belong to other shares
		}
	}
	r.Given, r.Proven = shares(c.Given, authority), shares(c.Proven, c.Next)
	return r
}

func shares(list []recovery.Given, of *recovery.ShareSet) []Share {
	var out []Share
	for _, g := range list {
		s := Share{Number: g.Number, At: g.At}
		if of != nil && g.Number >= 1 && g.Number <= len(of.Holders) {
			s.Name = of.Holders[g.Number-1].Name
		}
		out = append(out, s)
	}
	return out
}

// check refuses what the encodings cannot express.
func (r *Record) check() error {
	for _, f := range r.fields() {
		if why := checkValue(f.name, f.value); why != "" {
			return fmt.Errorf("%w: field %q %s", ErrRecord, f.name, why)
		}
	}
	return nil
}

func checkValue(name string, value any) string {
	limit := maxText
	if name == "reason" {
		limit = maxReason
	}
	text := func(s string) bool { return len(s) <= limit && utf8.ValidString(s) }
	switch v := value.(type) {
	case *string:
		if !text(*v) {
			return fmt.Sprintf("is not UTF-8 of at most %d bytes", limit)
		}
	case *int:
		if *v < 0 {
			return "is negative"
		}
	case *time.Time:
		return checkTime(*v)
	case *[]string:
		for _, s := range *v {
			if !text(s) {
				return fmt.Sprintf("has an entry that is not UTF-8 of at most %d bytes", limit)
			}
		}
		if len(*v) > MaxShares {
			return "has too many entries"
		}
	case *[]Share:
		for _, s := range *v {
			if s.Number < 1 || s.Number > MaxShares || !text(s.Name) || checkTime(s.At) != "" {
				return "has an entry that is not a share"
			}
		}
		if len(*v) > MaxShares {
			return "has too many entries"
		}
	}
	return ""
}

var (
	firstTime = time.Unix(0, 1)
	lastTime  = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)
)

func checkTime(t time.Time) string {
	if !t.IsZero() && (t.Before(firstTime) || t.After(lastTime)) {
		return "is a time outside 1970 to 2262"
	}
	return ""
}
