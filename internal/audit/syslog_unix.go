//go:build unix

package audit

import (
	"io"
	"log/syslog"
	"slices"
)

// openSyslog connects to the local syslog.
func openSyslog(facility, tag string) (io.WriteCloser, error) {
	return syslog.New(syslog.Priority(slices.Index(facilities, facility)<<3)|syslog.LOG_INFO, tag)
}
