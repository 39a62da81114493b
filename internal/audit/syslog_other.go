//go:build !unix

package audit

import (
	"errors"
	"io"
)

// openSyslog fails: this system has no syslog.
func openSyslog(string, string) (io.WriteCloser, error) {
	return nil, errors.New("audit: this system has no syslog; use a file or a socket")
}
