package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/seals"
)

// storage reads the sealed root key, unless a running server holds the storage's lock.
func (e *exam) storage(ctx context.Context) {
	s := e.cfg.Storage
	on := e.on("storage", s.Type, s.Pos)
	if s.Path != "" {
		on.about = s.Path
		if !e.folder(on, s.Path) {
			return
		}
	}
	e.outage(on)
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, e.Deadline)
	defer cancel()
	r, err := e.Open(ctx, s)
	if !e.opened(on, r, err) {
		return
	}
	defer r.Close()
	if p, ok := r.(pooled); ok && p.Pooled() {
		on.warn("connect directly, or set pool_mode = session", "a connection pooler is between: changes by other nodes are "+
			"seen later, and no statement is prepared")
	}
	e.scan(whole, on, r)
	e.storedRecord(ctx, on, r)
}

// opened reports whether the storage can be read. If not, it adds the finding.
func (e *exam) opened(on topic, r Reader, err error) bool {
	switch {
	case errors.Is(err, storage.ErrLocked) && e.running != nil:
		e.locked = true
		on.ok("the running server has it open; that server's own status of the seals is used")
		if e.Deep {
			on.warn("stop it for -deep, or run `operator snapshot save`, which reads all entries and names the damaged ones",
				"its entries were not scanned")
		}
	case errors.Is(err, storage.ErrLocked):
		e.locked = true
		on.fail("stop that process, or give this user access to the server's listeners",
			"another process has it open, and no Sealgate server responds on the listeners of this configuration: %v",
			err)
	case errors.Is(err, fs.ErrNotExist):
		on.ok("it does not exist yet: the server will create it")
	case errors.Is(err, storage.ErrForeign):
		on.fail("use another folder or database", "it has another program's data: %v", err)
	case errors.Is(err, storage.ErrCorrupt):
		on.fail("move it away and restore a snapshot, as internal/storage/README.md describes", "%v", err)
	case storage.ClassOf(err) != "":
		on.fail(storage.ClassOf(err).Remedy(), "it cannot be opened: %s: %v", storage.ClassOf(err), err)
	case err != nil:
		on.fail("check that it is running and that this user has access", "it cannot be opened: %v", err)
	case r == nil:
		on.warn("use bbolt, etcd or postgresql for data that must survive a restart",
			"it is in memory: all data is lost when the server stops")
	default:
		return true
	}
	return false
}

// storedRecord reads the sealed record.
func (e *exam) storedRecord(ctx context.Context, on topic, r Reader) {
	var err error
	e.record, err = node.StoredRecord(ctx, r.Get)
	switch {
	case err != nil:
		on.fail("restore it from a backup", "%v", err)
	case e.record == nil:
		e.read = true
		on.ok("it can be read; the server is not initialised yet")
	default:
		e.read = true
		text := fmt.Sprintf("%d of %s", e.record.Threshold, count(len(e.record.Parts), "seal"))
		if e.record.Plan().Grouped() {
			text = e.record.Plan().Expression()
		}
		on.ok("it can be read; the root key has generation %d and needs %s", e.record.Generation, text)
		e.sealedRecord(on)
		e.lossOfSeals(ctx, on, r)
	}
}

// lossOfSeals says whether the data survives the loss of every seal.
func (e *exam) lossOfSeals(ctx context.Context, on topic, r Reader) {
	threshold, shares, err := node.StoredBreakGlass(ctx, r.Get)
	custodians := func(name string) bool {
		return slices.ContainsFunc(e.record.Parts, func(p seals.Part) bool { return p.Name == name && p.Type == "shamir" })
	}
	switch {
	case len(e.record.ShareSet) > 0 && e.record.Plan().Opens(custodians):
		on.ok("the data survives the loss of every other seal: the unseal shares open it")
	case len(e.record.ShareSet) > 0:
		on.ok("the data does not survive the loss of every other seal: the policy asks for more than the unseal shares")
	case err != nil:
		on.warn("unseal the server, which writes it again, or restore it from a backup",
			"the break-glass record cannot be read, so the data may not survive the loss of every seal: %v", err)
	case shares > 0 && e.cfg.BreakGlass:
		on.ok("the data survives the loss of every seal: %d of %d recovery shares open it (break-glass)", threshold, shares)
	case shares > 0:
		on.ok("the data survives the loss of every seal: %d of %d recovery shares open it (break-glass), once break_glass = "+
			"true is in the configuration", threshold, shares)
	default:
		on.ok("the data does not survive the loss of every seal: nobody is enrolled for break-glass")
	}
}

// sealedRecord compares the policy of the sealed root key with the configured one, and reports a
// record of an older format.
func (e *exam) sealedRecord(on topic) {
	if text := e.record.Weakness(); text != "" {
		on.warn("change it while the server is unsealed", "%s", text)
	}
	want, have := e.cfg.Plan(), e.record.Plan()
	if want.Grouped() || have.Grouped() {
		e.groupedRecord(on, have, want)
		return
	}
	e.countedRecord(on, have.Threshold, want.Threshold)
}

// groupedRecord compares a stored policy with the configured one, where one of them has groups.
func (e *exam) groupedRecord(on topic, have, want seals.Plan) {
	names := want.Members
	for i := range e.cfg.Seals {
		if s := &e.cfg.Seals[i]; !s.Disabled && !slices.Contains(names, s.Name) {
			names = append(slices.Clone(names), s.Name)
		}
	}
	switch {
	case have.Expression() == want.Expression():
	case have.WeakerThan(want, names) && !e.cfg.SealPolicy.AllowChange:
		on.fail("if that is intended, set allow_change = true in seal_policy; otherwise restore the record from a backup",
			"%s unseals, %s is configured in seal_policy: the server would stay sealed", have.Expression(), want.Expression())
	default:
		on.warn("correct seal_policy, or set allow_change = true in it",
			"%s unseals, %s is configured in seal_policy", have.Expression(), want.Expression())
	}
}

// countedRecord compares how many seals are needed with what is configured.
func (e *exam) countedRecord(on topic, have, want int) {
	allowed := e.cfg.SealPolicy.AllowChange
	switch {
	case have == want:
	case allowed:
		on.warn("remove allow_change when the server has done so",
			"%d of its seals unseal, %d are configured in seal_policy: the server wraps the root key again", have, want)
	case have < want:
		on.fail("if that is intended, set allow_change = true in seal_policy; otherwise restore the record from a "+
			"backup",
			"%d of its seals unseal, %d are configured in seal_policy: the server would stay sealed", have, want)
	default:
		on.warn("correct seal_policy, or set allow_change = true in it",
			"%d of its seals are needed, %d are configured in seal_policy: rotate and rewrap are refused", have, want)
	}
}

// folder checks the folder of the embedded store, and reports whether the store can be opened.
func (e *exam) folder(on topic, dir string) bool {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		parent := filepath.Dir(filepath.Clean(dir))
		for { // the server creates missing parents
			if _, err := os.Stat(parent); err == nil || parent == filepath.Dir(parent) {
				break
			}
			parent = filepath.Dir(parent)
		}
		return e.writableFolder(on, parent, "the data folder")
	case err != nil:
		on.fail("give the server's user access to it", "%v", err)
		return false
	case !info.IsDir():
		on.fail("use a folder", "it is not a folder")
		return false
	}
	if unix.Access(dir, unix.W_OK|unix.X_OK) != nil {
		on.fail("change the owner of the folder to the server's user", "this user may not write to it")
	}
	if info.Mode().Perm()&0o077 != 0 {
		on.warn("chmod 700 "+dir, "other users of this machine have access to it (%s)", info.Mode().Perm())
	}
	if uid := owner(dir); os.Geteuid() == 0 && uid > 0 {
		on.warn("run doctor as the server's user", "it belongs to user %d, and doctor runs as root", uid)
	}
	e.diskSpace(on, dir)
	return true
}
