package bbolt

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sealgate/sealgate/internal/storage"
)

// others lists programs whose data is recognised, each by a path that only it creates.
var others = []struct{ path, what string }{
	{"vault.db", "the integrated storage (raft) of Vault or OpenBao"},
	{"raft", "the integrated storage (raft) of Vault or OpenBao"},
	{"core/_keyring", "the file storage of Vault or OpenBao"},
	{"core/_master", "the file storage of Vault or OpenBao"},
	{"core", "the file storage of Vault or OpenBao"},
	{"sys", "the file storage of Vault or OpenBao"},
	{"member/snap/db", "the data of etcd"},
	{"PG_VERSION", "the data of PostgreSQL"},
}

// checkForeign refuses a folder that contains anything but what file systems and tools create, and
// a damaged database that was moved aside. It is called before the database is created; once the
// database exists, other files beside it do not matter.
func checkForeign(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ioError(dir, "reading", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || e.Name() == "lost+found" || e.Name() == FileName+damagedSuffix {
			continue
		}
		what := "files of another program"
		found := e.Name()
		for _, o := range others {
			if _, err := os.Lstat(filepath.Join(dir, o.path)); err == nil {
				found, what = o.path, o.what
				break
			}
		}
		return fmt.Errorf("%w: %s holds %s (%s); use an empty folder: Sealgate neither reads nor changes this one",
			storage.ErrForeign, dir, found, what)
	}
	return nil
}
