package config

import "time"

// Lockout is a user_lockout stanza: when failed logins lock a user out. Zero values mean those of
// the stanza "all", and without it 5 failures, 15 minutes, 15 minutes.
//
//	user_lockout "all" {             # or "userpass", "approle"
//	  lockout_threshold     = 5      # failures in a row
//	  lockout_duration      = "15m"
//	  lockout_counter_reset = "15m"  # after which the count of failures is reset
//	  disable_lockout       = false
//	}
type Lockout struct {
	Pos          Pos
	Threshold    int64
	Duration     time.Duration
	CounterReset time.Duration
	Disable      bool
}

const mostLockout = 365 * 24 * time.Hour

func (d *decoder) lockout(b block) {
	name := b.labels[0]
	switch name {
	case "all", "approle", "ldap", "userpass":
	default:
		d.fail(b.pos, `user_lockout %s is not known: use "all", "userpass" or "approle"`, short(name))
		return
	}
	if other, ok := d.cfg.Lockout[name]; ok {
		d.fail(b.pos, "duplicate user_lockout %q: the first is at %s", name, other.Pos)
		return
	}
	l := Lockout{Pos: b.pos}
	s := d.section("user_lockout "+name, b.body)
	s.integer("lockout_threshold", 0, 1<<31, &l.Threshold)
	s.duration("lockout_duration", &l.Duration)
	s.duration("lockout_counter_reset", &l.CounterReset)
	s.flag("disable_lockout", &l.Disable)
	s.finish()
	if l.Duration < 0 || l.CounterReset < 0 || max(l.Duration, l.CounterReset) > mostLockout {
		d.fail(b.pos, "user_lockout: the durations must be from 0 to %s", mostLockout)
	}
	if l.Disable {
		d.note(b.pos, "disable_lockout", true, "the number of password guesses is not limited")
	}
	if d.cfg.Lockout == nil {
		d.cfg.Lockout = map[string]Lockout{}
	}
	d.cfg.Lockout[name] = l
}
