package kv

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

var version2Mount = mount.Entry{Path: "secret/", Type: "kv", Options: map[string]string{"version": "2"}}

// upgraded is a mount of version 1 with entries that was tuned, and not yet moved.
func upgraded(t testing.TB, values map[string]string) *bench {
	t.Helper()
	store := &counted{Store: inmem.New()}
	t.Cleanup(func() { _ = store.Close() })
	b := openV2(t, store)
	backend, err := Factory(Options{Now: b.clock.Now})(store, mount.Entry{Path: "secret/", Type: "kv"})
	if err != nil {
		t.Fatal(err)
	}
	for path, body := range values {
		if _, err := do(t, backend, mount.Create, path, body); err != nil {
			t.Fatal(err)
		}
	}
	ops, err := backend.(mount.Tuner).Tune(t.Context(), version2Mount)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Commit(t.Context(), storage.Batch{Ops: ops}); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestUpgradeServesAllTheWhile(t *testing.T) {
	t.Parallel()
	values := map[string]string{}
	for i := range 100 {
		values[fmt.Sprintf("f%d/s%d", i%3, i)] = fmt.Sprintf(`{"v":"%d%s"}`, i, strings.Repeat("x", (i%2)*inlineMost))
	}
	values["top"] = `{"v":"top"}`
	b := upgraded(t, values)
	all := func(when string) {
		t.Helper()
		for path, body := range values {
			b.expect(mount.Read, "data/"+path, "", `{"data":`+body+`,"metadata":`+version2(at0, "", "false", 1)+`}`)
		}
		r, err := b.ask(mount.Scan, "metadata/", "")
		if err != nil || len(r.Data.(keys).Keys) != 101 {
			t.Errorf("%s: %v", when, shownV2(t, r, err))
		}
		b.expect(mount.List, "metadata/", "", `{"keys":["f0/","f1/","f2/","top"]}`)
	}
	all("before")
	if n := len(keysBelow(t, b.store, "m/")); n != 0 {
		t.Errorf("reading moved %d entries", n)
	}
	b.store.fail, b.store.spared = errors.New("the process is killed here"), 3
	if err := b.Maintain(t.Context()); !errors.Is(err, b.store.fail) {
		t.Errorf("the upgrade: %v", err)
	}
	b.store.fail = nil
	moved := len(keysBelow(t, b.store, "m/"))
	if moved == 0 || moved == 101 {
		t.Errorf("%d of 101 entries were moved; the kill was to come in the middle", moved)
	}
	all("in the middle")
	store := b.store
	b = openV2(t, store)
	all("in the middle, after a restart")
	if err := b.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	all("after")
	for _, key := range keysBelow(t, store, "") {
		if strings.HasPrefix(key, "v1/") || key == "upgrade" {
			t.Errorf("left is %s", key)
		}
	}
	if store.largest > mount.MaxOps {
		t.Errorf("a commit had %d operations", store.largest)
	}
}

func TestChangesDuringAnUpgrade(t *testing.T) {
	t.Parallel()
	values := map[string]string{}
	for _, path := range []string{"put", "cas", "patch", "delete", "destroy", "meta", "gone"} {
		values[path] = `{"old":"1"}`
	}
	values["big"] = `{"old":"` + strings.Repeat("x", storage.MaxBytes-300) + `"}`
	b := upgraded(t, values)
	b.expect(mount.Update, "data/put", `{"data":{"new":"1"}}`, version2(at0, "", "false", 2))
	b.expect(mount.Read, "data/put?version=1", "", `{"data":{"old":"1"},...`)
	b.expect(mount.Update, "data/cas", `{"data":{},"options":{"cas":0}}`, "error: check-and-set...")
	b.expect(mount.Patch, "data/patch", `{"data":{"new":"1"}}`, version2(at0, "", "false", 2))
	b.expect(mount.Read, "data/patch", "", `{"data":{"new":"1","old":"1"},...`)
	b.expect(mount.Delete, "data/delete", "", "nothing")
	b.expect(mount.Read, "data/delete", "", `404 {"data":null,...`)
	b.expect(mount.Update, "destroy/destroy", `{"versions":[1]}`, "nothing")
	b.expect(mount.Update, "metadata/meta", `{"max_versions":2}`, "nothing")
	b.expect(mount.Delete, "metadata/gone", "", "nothing")
	b.expect(mount.Read, "data/gone", "", "nothing")
	b.expect(mount.Update, "data/big", `{"data":{"new":"1"}}`, version2(at0, "", "false", 2))
	b.expect(mount.Read, "data/big?version=1", "", `{"data":{"old":"xxx...`)
	if err := b.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.expect(mount.Scan, "metadata/", "", `{"keys":["big","cas","delete","destroy","meta","patch","put"]}`)
}

func TestADamagedEntryDoesNotKeepTheOthersBack(t *testing.T) {
	t.Parallel()
	b := upgraded(t, map[string]string{"a": `{"v":1}`, "z": `{"v":2}`})
	if err := b.store.Commit(t.Context(),
		storage.Batch{Ops: []storage.Op{storage.Put("v1/m", []byte("nonsense"))}}); err != nil {
		t.Fatal(err)
	}
	if err := b.Maintain(t.Context()); !errors.Is(err, errRecord) || !strings.Contains(err.Error(), `"m"`) {
		t.Errorf("an upgrade with a damaged entry: %v", err)
	}
	if got := keysBelow(t, b.store, ""); fmt.Sprint(got) != "[m/a m/z upgrade v1/m]" {
		t.Errorf("left are %v", got)
	}
	b.expect(mount.Delete, "metadata/m", "", "nothing")
	if err := b.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := keysBelow(t, b.store, ""); fmt.Sprint(got) != "[m/a m/z]" {
		t.Errorf("left are %v", got)
	}
}

// TestUpgradeUnderTraffic: no reader or writer sees anything else while entries are moved
// than before.
func TestUpgradeUnderTraffic(t *testing.T) {
	t.Parallel()
	values := map[string]string{}
	for i := range 200 {
		values[fmt.Sprintf("s%d", i)] = `{"v":"old"}`
	}
	b := upgraded(t, values)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 200 {
				path := fmt.Sprintf("s%d", i)
				if i%4 == w {
					b.expect(mount.Update, "data/"+path, `{"data":{"v":"new"},"options":{"cas":1}}`, version2(at0, "", "false", 2))
				}
				b.expect(mount.Read, "data/"+path, "", `{"data":{"v":...`)
			}
		})
	}
	if err := b.Maintain(t.Context()); err != nil {
		t.Error(err)
	}
	wg.Wait()
	for i := range 200 {
		b.expect(mount.Read, fmt.Sprintf("data/s%d?version=1", i), "", `{"data":{"v":"old"},...`)
		b.expect(mount.Read, fmt.Sprintf("data/s%d", i), "", `{"data":{"v":"new"},...`)
	}
}

func TestNoWayBack(t *testing.T) {
	t.Parallel()
	b := freshV2(t)
	if _, err := b.Tune(t.Context(), mount.Entry{Options: map[string]string{"version": "1"}}); err == nil ||
		!strings.Contains(err.Error(), "cannot downgrade") {
		t.Errorf("from version 2 to 1: %v", err)
	}
	if ops, err := b.Tune(t.Context(), version2Mount); err != nil || ops != nil {
		t.Errorf("from version 2 to 2: %v, %v", ops, err)
	}
}
