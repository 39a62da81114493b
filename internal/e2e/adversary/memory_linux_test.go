package adversary

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/internal/testkit"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/static"
)

// buildErasing compiles the program without the race detector, which keeps copies of memory, and
// with the experiment that erases.
func buildErasing(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "sealgate")
	cmd := exec.Command("go", "build", "-trimpath", "-o", bin, "github.com/sealgate/sealgate/cmd/sealgate")
	cmd.Env = append(os.Environ(), "GOEXPERIMENT=runtimesecret")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// TestMemoryReaderFindsNoShares: root reads the memory of an unsealed server after a rekey of its
// recovery shares. No share, old or new, and no root key is outside the locked pages.
func TestMemoryReaderFindsNoShares(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		testkit.Missing(t, "the memory of a server is closed to other users than root")
	}
	bin := buildErasing(t)
	t.Run("recovery shares", func(t *testing.T) {
		t.Parallel()
		a := newTargetBuilt(t, bin, staticSeal, "", 3)
		secrets := hunted{}
		secrets.shares(t, "old", a.shares)
		secrets.shares(t, "new", a.rekey("sys/rekey-recovery-key/"))
		root := a.rootKey()
		defer root.Destroy()
		secrets["root key"] = root.Expose()
		secrets["transcript key"] = a.transcriptSeed(root)
		a.unfound(secrets)
	})
	t.Run("unseal shares", func(t *testing.T) {
		t.Parallel()
		a := newTargetBuilt(t, bin, shamirSeal, "", 3)
		secrets := hunted{}
		secrets.shares(t, "old", a.shares)
		before := a.stored("core/seal")
		fresh := a.rekey("sys/rekey/")
		secrets.shares(t, "new", fresh)
		oldRoot, oldSeed := unwrapByShares(t, before, a.shares)
		root, seed := unwrapByShares(t, a.stored("core/seal"), fresh)
		for name, key := range map[string]*recovery.Secret{"old": oldSeed, "new": seed} {
			secrets[name+" seed"] = key.Expose()
			record, err := recovery.RecordKey(key)
			if err != nil {
				t.Fatal(err)
			}
			secrets[name+" key of the sealed record"] = record.Expose()
		}
		secrets["old root key"], secrets["root key"] = oldRoot.Expose(), root.Expose()
		secrets["transcript key"] = a.transcriptSeed(root)
		a.unfound(secrets)
	})
}

// hunted are secrets that must not be found, by name.
type hunted map[string][]byte

// shares adds shares in the forms in which they travel.
func (h hunted) shares(t *testing.T, name string, shares []string) {
	t.Helper()
	for i, s := range shares {
		raw, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("%s share %d", name, i+1)
		h[name] = raw
		h[name+" in hexadecimal"] = []byte(s)
		h[name+" in base64"] = []byte(base64.StdEncoding.EncodeToString(raw)[:40])
	}
}

// rekey replaces the shares and returns the new ones.
func (a *target) rekey(path string) []string {
	a.t.Helper()
	var attempt struct{ Nonce string }
	a.must(200, "PUT", path+"init", a.root, map[string]int{"secret_shares": 3, "secret_threshold": 2},
		&attempt)
	var out struct{ Keys []string }
	for _, s := range a.shares[:2] {
		a.must(200, "PUT", path+"update", "", map[string]string{"key": s, "nonce": attempt.Nonce}, &out)
	}
	if len(out.Keys) != 3 {
		a.t.Fatalf("the rekey returned %d shares", len(out.Keys))
	}
	return out.Keys
}

// rootKey unwraps the stored root key as the static seal does.
func (a *target) rootKey() *seals.Secret {
	a.t.Helper()
	w, err := static.New(seals.Config{Name: "box", Type: "static", Params: map[string]string{
		"current_key_id": "k1", "current_key": strings.Repeat("5c", 32),
	}})
	if err != nil {
		a.t.Fatal(err)
	}
	set, err := seals.NewSet([]seals.Seal{{Name: "box", Type: "static", Wrapper: w}}, seals.Options{})
	if err != nil {
		a.t.Fatal(err)
	}
	defer set.Close() //nolint:errcheck // it has no connection
	root, err := set.Unwrap(a.t.Context(), a.record(), nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return root
}

// transcriptSeed decrypts the key that signs the transcript.
func (a *target) transcriptSeed(root *seals.Secret) []byte {
	a.t.Helper()
	store := inmem.New()
	defer store.Close() //nolint:errcheck // it is memory
	batch := storage.Batch{}
	for _, key := range []string{"core/keyring", "core/transcript/key"} {
		batch.Ops = append(batch.Ops, storage.Put(key, a.stored(key)))
	}
	if err := store.Commit(a.t.Context(), batch); err != nil {
		a.t.Fatal(err)
	}
	b := barrier.New(store, barrier.Options{})
	if err := b.Unseal(a.t.Context(), root, a.record().Generation); err != nil {
		a.t.Fatal(err)
	}
	record, err := b.Get(a.t.Context(), "core/transcript/key")
	if err != nil || len(record) != 33 {
		a.t.Fatalf("the transcript's key: %d bytes, %v", len(record), err)
	}
	return record[1:]
}

// unfound looks for secrets in all memory of the server that is not locked. What was released is
// erased when it is collected, so that the last attempt counts.
func (a *target) unfound(secrets map[string][]byte) {
	a.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		found := a.search(secrets)
		if len(found) == 0 {
			return
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("in the memory of the server:\n%s", strings.Join(found, "\n"))
		}
		a.do("PUT", "sys/unseal", "", map[string]string{"key": strings.Repeat("ab", 33)}) // collects
	}
}

// begins matches the first line of a mapping in smaps.
var begins = regexp.MustCompile(`^[0-9a-f]+-[0-9a-f]+ `)

// search returns where secrets are in memory. It reads the mappings that are not locked.
func (a *target) search(secrets map[string][]byte) (found []string) {
	a.t.Helper()
	proc := fmt.Sprintf("/proc/%d/", a.Pid())
	smaps, err := os.ReadFile(proc + "smaps")
	if err != nil {
		a.t.Fatal(err)
	}
	mem, err := os.Open(proc + "mem")
	if err != nil {
		a.t.Fatal(err)
	}
	defer mem.Close()
	var from, to uint64
	var perms, name string
	for line := range strings.Lines(string(smaps)) {
		if begins.MatchString(line) {
			if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &perms); err != nil {
				a.t.Fatalf("%v: %s", err, line)
			}
			name = strings.TrimSpace(line)
			continue
		}
		flags, ok := strings.CutPrefix(line, "VmFlags:")
		if !ok || perms[0] != 'r' || strings.Contains(flags, " lo") || strings.Contains(name, "[vvar") ||
			strings.Contains(name, "[vsyscall") {
			continue
		}
		data := make([]byte, to-from)
		n, _ := mem.ReadAt(data, int64(from)) // the rest of a mapping may have no memory
		for what, value := range secrets {
			if at := bytes.Index(data[:n], value); at >= 0 {
				found = append(found, fmt.Sprintf("%s at %x in %s: %q", what, from+uint64(at), name,
					data[max(0, at-60):min(n, at+len(value)+30)]))
			}
		}
	}
	return found
}
