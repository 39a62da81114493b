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

// secrets are the secret parameters by type of seal, which must not be in a file that others can
// read.
var secrets = map[string][]string{
	"pkcs11":        {"pin"},
	"static":        {"current_key", "previous_key"},
	"transit":       {"token"},
	"awskms":        {"secret_key", "session_token"},
	"gcpckms":       {"credentials"},
	"azurekeyvault": {"client_secret", "cert_password"},
	"alicloudkms":   {"access_secret", "secret_key"},
}

// files checks the permissions of the files in the configuration.
func (e *exam) files() {
	for _, name := range e.cfg.Files {
		e.writableByOthers("files", name, "chmod go-w: anybody who can write it can make the server load a library")
	}
	for _, s := range e.cfg.Seals {
		e.secretsOf(s)
		if lib := firstOf(s.Params, "lib", "module"); s.Type == "pkcs11" && lib != "" {
			e.writableByOthers("files", lib, "chmod go-w: its code runs in the server")
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

// secretsOf checks secrets in the configuration itself and the files with the others. It shows no
// value.
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
			on.fail("use file:///path or env://NAME instead, and replace the secret, because others may have read it",
				"%s is in a file that other users of this machine can read", name)
		default:
			on.warn("use file:///path or env://NAME instead", "%s is unencrypted in the configuration", name)
		}
	}
}

// private checks that a file exists, is readable, and is accessible to its owner only.
func (e *exam) private(area, path string, p config.Pos, what string) {
	on := e.on(area, path, p)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		on.fail("create it, or correct the path; a relative path is relative to the server's working directory",
			"%s does not exist", what)
	case err != nil:
		on.fail("give the server's user access to it", "%s: %v", what, err)
	case unix.Access(path, unix.R_OK) != nil:
		on.fail("give the server's user read permission", "this user cannot read %s", what)
	case info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0:
		on.warn("chmod 600 "+path, "other users of this machine can access %s (%s)", what, info.Mode().Perm())
	default:
		on.ok("%s exists, and only its owner has access", what)
	}
}

func (e *exam) writableByOthers(area, path, remedy string) {
	if others(path)&0o022 != 0 {
		e.on(area, path, config.Pos{}).fail(remedy, "other users may write to it (%s)", others(path))
	}
}

// others are the permissions of a file; none if it cannot be read, which another check reports.
func others(path string) fs.FileMode {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Mode().Perm()
}

// writableFolder reports whether a file can be created in a folder.
func (e *exam) writableFolder(on topic, dir, what string) bool {
	switch err := unix.Access(dir, unix.W_OK|unix.X_OK); {
	case errors.Is(err, unix.ENOENT):
		on.fail("create the folder, writable for the server's user", "the folder of %s does not exist: %s", what, dir)
	case errors.Is(err, unix.EROFS):
		on.fail("mount it read-write, or use another", "the folder of %s is on a read-only file system: %s", what, dir)
	case err != nil:
		on.fail("give the server's user write permission", "%s cannot be created in %s: %v", what, dir, err)
	default:
		return true
	}
	return false
}

// diskSpace warns if a disk is nearly full.
func (e *exam) diskSpace(on topic, path string) {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return
	}
	free, all := st.Bavail*uint64(st.Bsize), st.Blocks*uint64(st.Bsize)
	if free < 256<<20 || all > 0 && free*20 < all {
		on.warn("free space: every write fails on a full disk", "only %d MiB are free on the disk of %s", free>>20, path)
	}
}

// owner is the user id of a file's owner, or -1.
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
