package doctor

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sealgate/sealgate/internal/config"
)

// audit looks whether each device of the configuration could take entries.
func (e *exam) audit(ctx context.Context) {
	for _, a := range e.cfg.Audit {
		on := e.on("audit", a.Device.Path, a.Pos)
		o := a.Device.Options
		switch a.Device.Type {
		case "file":
			e.auditFile(on, cmp.Or(o["file_path"], o["path"]))
		case "socket":
			d := net.Dialer{Timeout: e.Deadline}
			c, err := d.DialContext(ctx, cmp.Or(o["socket_type"], "tcp"), o["address"])
			if err != nil {
				on.fail("see whether what listens there is up: what no device can record does not happen", "it cannot be reached: %v", err)
				continue
			}
			_ = c.Close()
			on.ok("it can be reached")
		case "syslog":
			e.syslog(on)
		}
	}
	if len(e.cfg.Audit) == 0 && e.cfg.AuditByAPI {
		e.on("audit", "", config.Pos{}).ok("the configuration names no device; some may have been enabled by request")
	}
}

func (e *exam) auditFile(on topic, path string) {
	if path == "stdout" || path == "discard" {
		on.ok("entries go to %s", path)
		return
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if !e.writableFolder(on, filepath.Dir(path), "the audit file") {
			return
		}
		on.ok("%s can be made", path)
	case err != nil:
		on.fail("let the server's user reach it", "%v", err)
		return
	case info.IsDir():
		on.fail("name a file", "%s is a folder", path)
		return
	case unix.Access(path, unix.W_OK) != nil:
		on.fail("let the server's user write to it", "%s is not writable for this user", path)
		return
	default:
		on.ok("%s is writable", path)
		if info.Mode().IsRegular() && info.Mode().Perm()&0o022 != 0 {
			on.warn("chmod go-w "+path, "others may write to it, and so change what happened (%s)", info.Mode().Perm())
		}
	}
	e.room(on, filepath.Dir(path))
}

func (e *exam) syslog(on topic) {
	for _, path := range []string{"/dev/log", "/var/run/syslog", "/var/run/log"} {
		if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
			on.ok("the system's log is at %s", path)
			return
		}
	}
	on.fail("start it, or use a file", "this machine has no system log")
}
