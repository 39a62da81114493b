package config

import "time"

// Ceremony is the ceremony stanza: the time limits of ceremonies.
//
//	ceremony {
//	  expiry      = "24h"   # a ceremony without progress ends after this time
//	  keep_answer = "10m"   # how long the last response can be fetched again; 0 = not at all
//	}
type Ceremony struct {
	Pos        Pos
	Expiry     time.Duration
	KeepAnswer time.Duration
}

const (
	leastExpiry = time.Minute
	mostExpiry  = 30 * 24 * time.Hour
	mostAnswer  = 24 * time.Hour
)

func defaultCeremony() Ceremony {
	return Ceremony{Expiry: 24 * time.Hour, KeepAnswer: 10 * time.Minute}
}

func (d *decoder) ceremony(b block) {
	if d.cfg.Ceremony.Pos != (Pos{}) {
		d.fail(b.pos, "duplicate ceremony stanza: the first is at %s", d.cfg.Ceremony.Pos)
		return
	}
	c := defaultCeremony()
	c.Pos = b.pos
	s := d.section("ceremony", b.body)
	s.duration("expiry", &c.Expiry)
	s.duration("keep_answer", &c.KeepAnswer)
	s.finish()
	if c.Expiry < leastExpiry || c.Expiry > mostExpiry {
		d.fail(b.pos, "ceremony: expiry must be from %s to %s", leastExpiry, mostExpiry)
	}
	if c.KeepAnswer < 0 || c.KeepAnswer > mostAnswer {
		d.fail(b.pos, "ceremony: keep_answer must be from 0 (not at all) to %s", mostAnswer)
	}
	if c.KeepAnswer == 0 {
		d.note(b.pos, "keep_answer", true, "if the response to the last share is lost, the new shares are lost")
	}
	d.cfg.Ceremony = c
}
