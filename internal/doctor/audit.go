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

// audit checks that each audit device of the configuration could accept entries.
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
				on.fail("check the listener there: requests that no device can record are refused", "it cannot be reached: %v", err)
				continue
			}
			_ = c.Close()
			on.ok("it can be reached")
		case "syslog":
			e.syslog(on)
		}
	}
	if len(e.cfg.Audit) == 0 && !e.cfg.AuditOptions().ForbidAPI {
		e.on("audit", "", config.Pos{}).ok("the configuration has no device; some may have been enabled through the API")
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
		on.ok("%s can be created", path)
	case err != nil:
		on.fail("give the server's user access to it", "%v", err)
		return
	case info.IsDir():
		on.fail("use a file", "%s is a folder", path)
		return
	case unix.Access(path, unix.W_OK) != nil:
		on.fail("give the server's user write permission", "this user cannot write to %s", path)
		return
	default:
		on.ok("%s is writable", path)
		if info.Mode().IsRegular() && info.Mode().Perm()&0o022 != 0 {
			on.warn("chmod go-w "+path, "other users may write to it, and so forge entries (%s)", info.Mode().Perm())
		}
	}
	e.diskSpace(on, filepath.Dir(path))
}

func (e *exam) syslog(on topic) {
	for _, path := range []string{"/dev/log", "/var/run/syslog", "/var/run/log"} {
		if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
			on.ok("the system log is at %s", path)
			return
		}
	}
	on.fail("start syslog, or use a file device", "this machine has no system log")
}
