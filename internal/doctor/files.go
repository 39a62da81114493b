package doctor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sealgate/sealgate/internal/config"
)

// secrets are, by the type of seal, the parameters that must not stand in a file that others read.
var secrets = map[string][]string{
	"pkcs11":        {"pin"},
	"static":        {"current_key", "previous_key"},
	"transit":       {"token"},
	"awskms":        {"secret_key", "session_token"},
	"gcpckms":       {"credentials"},
	"azurekeyvault": {"client_secret", "cert_password"},
	"alicloudkms":   {"access_secret", "secret_key"},
}

// files looks at who may read and write what the configuration names.
func (e *exam) files() {
	for _, name := range e.cfg.Files {
		e.writableByOthers("files", name, "whoever writes it names the library that the server loads: chmod go-w")
	}
	for _, s := range e.cfg.Seals {
		e.secretsOf(s)
		if lib := firstOf(s.Params, "lib", "module"); s.Type == "pkcs11" && lib != "" {
			e.writableByOthers("files", lib, "its code runs within the server: chmod go-w")
		}
	}
	for _, l := range e.cfg.Listeners {
		if !l.TLSDisable && l.TLSKeyFile != "" {
			e.private("files", l.TLSKeyFile, l.Pos, "the private key of the listener")
		}
	}
	if e.cfg.PIDFile != "" {
		e.writableFolder(e.on("files", e.cfg.PIDFile, config.Pos{}), filepath.Dir(e.cfg.PIDFile), "the pid file")
	}
}

func firstOf(params map[string]string, names ...string) string {
	for _, n := range names {
		if params[n] != "" {
			return params[n]
		}
	}
	return ""
}

// secretsOf tells of secrets that stand in the configuration itself, and of the files that hold the others. No value is shown.
func (e *exam) secretsOf(s config.Seal) {
	for _, name := range secrets[s.Type] {
		v := s.Params[name]
		on := e.on("files", s.Name, s.Pos)
		path, inFile := strings.CutPrefix(v, "file://")
		switch {
		case v == "" || strings.HasPrefix(v, "env://"):
		case inFile:
			e.private("files", path, s.Pos, "the file with "+name+" of seal "+s.Name)
		case s.Type == "gcpckms" && !strings.HasPrefix(strings.TrimSpace(v), "{"):
			e.private("files", v, s.Pos, "the file with "+name+" of seal "+s.Name)
		case s.Pos.File != "" && others(s.Pos.File)&0o044 != 0:
			on.fail("write file:///path or env://NAME in its place, and change it, since others may have read it",
				"%s stands in the clear in a file that other users of this machine can read", name)
		default:
			on.warn("write file:///path or env://NAME in its place", "%s stands in the clear in the configuration", name)
		}
	}
}

// private wants a file that is there, is readable, and is nobody else's.
func (e *exam) private(area, path string, p config.Pos, what string) {
	on := e.on(area, path, p)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		on.fail("make it, or correct the path; a relative one counts from the folder in which the server starts", "%s is not there", what)
	case err != nil:
		on.fail("let the server's user reach it", "%s: %v", what, err)
	case unix.Access(path, unix.R_OK) != nil:
		on.fail("let the server's user read it", "%s is not readable for this user", what)
	case info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0:
		on.warn("chmod 600 "+path, "%s is open to other users of this machine (%s)", what, info.Mode().Perm())
	default:
		on.ok("%s is there, and nobody else's", what)
	}
}

func (e *exam) writableByOthers(area, path, remedy string) {
	if others(path)&0o022 != 0 {
		e.on(area, path, config.Pos{}).fail(remedy, "others may write to it (%s)", others(path))
	}
}

// others are the permissions of a file; none where it cannot be looked at, which something else tells.
func others(path string) fs.FileMode {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Mode().Perm()
}

// writableFolder reports whether a file can be made in a folder.
func (e *exam) writableFolder(on topic, dir, what string) bool {
	switch err := unix.Access(dir, unix.W_OK|unix.X_OK); {
	case errors.Is(err, unix.ENOENT):
		on.fail("make the folder, for the server's user to write to", "the folder of %s is not there: %s", what, dir)
	case errors.Is(err, unix.EROFS):
		on.fail("mount it for writing, or name another", "the folder of %s is on a file system that is mounted for reading: %s", what, dir)
	case err != nil:
		on.fail("let the server's user write to it", "%s cannot be made in %s: %v", what, dir, err)
	default:
		return true
	}
	return false
}

// room warns where a disk is nearly full.
func (e *exam) room(on topic, path string) {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return
	}
	free, all := st.Bavail*uint64(st.Bsize), st.Blocks*uint64(st.Bsize)
	if free < 256<<20 || all > 0 && free*20 < all {
		on.warn("make room: a full disk fails every write", "%d MiB are free on the disk of %s", free>>20, path)
	}
}

// owner is the user whose file it is, -1 where that is not told.
func owner(path string) int {
	info, err := os.Stat(path)
	if err != nil {
		return -1
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}
