package audit

import (
	"fmt"
	"time"
)

// Failure is a device whose last write failed.
type Failure struct {
	Path     string
	Where    string // "file /var/log/audit.log"
	Declared bool   // in the configuration
	Since    time.Time
	Cause    error
}

// Failing returns the devices whose last write failed, as far as is known, and whether these are
// all: then no request can be audited, and almost none is answered.
func (t *Trail) Failing() (list []Failure, all bool) {
	s := t.now.Load()
	for _, a := range s.devices {
		if since, err := a.device.failure(); err != nil {
			list = append(list, Failure{Path: a.Path, Where: a.settings.String(), Declared: a.Declared, Since: since,
				Cause: err})
		}
	}
	return list, len(list) > 0 && len(list) == len(s.devices)
}

// String says what fails and what to do.
func (f Failure) String() string {
	remedy := "a root token can disable it (sealgate audit disable " + f.Path + ")"
	if f.Declared {
		remedy = "remove its stanza from the configuration and restart"
	}
	return fmt.Sprintf("the audit device %q cannot write to %s since %s: %v; make room there, or correct its "+
		"permissions; if it is lost, %s", f.Path, f.Where, f.Since.UTC().Format(time.RFC3339), f.Cause, remedy)
}

// allFail is the warning in place of the devices' own where all of them fail.
const allFail = "no audit device accepts entries: requests are refused until one does"

// Warnings returns a text for each failing device, and one more if all fail.
func (t *Trail) Warnings() []string {
	list, all := t.Failing()
	var out []string
	if all {
		out = append(out, allFail)
	}
	for _, f := range list {
		out = append(out, f.String())
	}
	return out
}
