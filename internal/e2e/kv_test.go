package e2e

import (
	"fmt"
	"strings"
	"testing"

	vault "github.com/hashicorp/vault/api"
	bao "github.com/openbao/openbao/api/v2"
)

// TestKVHelpers: the helpers for key-value version 2 of both libraries, unmodified, against the
// real server.
func TestKVHelpers(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	vc, err := vault.NewClient(&vault.Config{Address: r.URL()})
	if err != nil {
		t.Fatal(err)
	}
	vc.SetToken(r.root)
	bc, err := bao.NewClient(&bao.Config{Address: r.URL()})
	if err != nil {
		t.Fatal(err)
	}
	bc.SetToken(r.root)
	for mount, kv := range map[string]kvSDK{"vault": vaultKV(t, vc, "vault"), "bao": baoKV(t, bc, "bao")} {
		r.must(204, "POST", "sys/mounts/"+mount, map[string]any{"type": "kv-v2"})
		s := &kvStory{t: t, kv: kv}
		s.values()
		s.deletions()
		s.metadata()
		s.mounts(r, mount)
	}
	lists(t, bc)
}

type kvStory struct {
	t  *testing.T
	kv kvSDK
}

func (s *kvStory) version(what string, want int) func(int, error) {
	s.t.Helper()
	return func(got int, err error) {
		s.t.Helper()
		if err != nil || got != want {
			s.t.Fatalf("%s: version %d, %v; want %d", what, got, err, want)
		}
	}
}

func (s *kvStory) ok(what string, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
}

// read is a version's data, "deleted" or "destroyed".
func (s *kvStory) read(version int, want string) {
	s.t.Helper()
	v, err := s.kv.get("team/app", version)
	s.ok("Get", err)
	got := fmt.Sprint(v.data)
	if v.data == nil {
		got = "deleted"
		if v.destroyed {
			got = "destroyed"
		} else if v.deleted.IsZero() {
			got = "gone, who knows why"
		}
	}
	if got != want || !v.dated || version != 0 && v.version != version {
		s.t.Fatalf("version %d is %+v, want %s", version, v, want)
	}
}

func (s *kvStory) values() {
	_, err := s.kv.get("team/app", 0)
	if !s.kv.missing(err) {
		s.t.Fatalf("a secret that is not there: %v", err)
	}
	s.version("Put", 1)(s.kv.put("team/app", map[string]any{"a": "1", "keep": "x"}, 0))
	if _, err := s.kv.put("team/app", map[string]any{"a": "lost"}, 0); err == nil ||
		!strings.Contains(err.Error(), "did not match the current version") {
		s.t.Fatalf("a second secret where there must be none: %v", err)
	}
	s.version("Put", 2)(s.kv.put("team/app", map[string]any{"a": "2", "keep": "x"}, 1))
	s.version("Patch", 3)(s.kv.patch("team/app", map[string]any{"a": "3"}, "patch"))
	s.version("Patch", 4)(s.kv.patch("team/app", map[string]any{"b": "4"}, "rw"))
	s.read(0, "map[a:3 b:4 keep:x]")
	s.read(1, "map[a:1 keep:x]")
	s.version("Rollback", 5)(s.kv.rollback("team/app", 2))
	s.read(0, "map[a:2 keep:x]")
	if _, err := s.kv.get("team/app", 9); !s.kv.missing(err) {
		s.t.Fatalf("a version that is not there: %v", err)
	}
	if _, err := s.kv.patch("team/none", map[string]any{"a": "b"}, "patch"); !s.kv.missing(err) {
		s.t.Fatalf("a patch of what is not there: %v", err)
	}
}

func (s *kvStory) deletions() {
	s.ok("Delete", s.kv.remove("team/app"))
	s.read(0, "deleted")
	s.read(4, "map[a:3 b:4 keep:x]")
	s.ok("DeleteVersions", s.kv.versions("delete", "team/app", []int{1, 2}))
	s.read(1, "deleted")
	s.ok("Undelete", s.kv.versions("undelete", "team/app", []int{2, 5}))
	s.read(5, "map[a:2 keep:x]")
	s.ok("Destroy", s.kv.versions("destroy", "team/app", []int{1, 5}))
	s.ok("Undelete", s.kv.versions("undelete", "team/app", []int{1, 5}))
	s.read(1, "destroyed")
	s.read(0, "destroyed")
	s.version("Put", 6)(s.kv.put("team/app", map[string]any{"a": "6"}, -1))
}

func (s *kvStory) metadata() {
	s.ok("PutMetadata", s.kv.setMetadata("team/app", 3, map[string]any{"owner": "me", "n": "1"}))
	s.ok("PatchMetadata", s.kv.patchCustom("team/app", map[string]any{"n": nil, "x": "y"}))
	s.version("Put", 7)(s.kv.put("team/app", map[string]any{"a": "7"}, 6))
	current, most, custom, versions, err := s.kv.known("team/app")
	if fmt.Sprint(current, most, custom, versions, err) != "7 3 map[owner:me x:y] 3 <nil>" {
		s.t.Fatalf("GetMetadata: %d %d %v %d %v", current, most, custom, versions, err)
	}
	if v, err := s.kv.get("team/app", 0); err != nil || fmt.Sprint(v.custom) != "map[owner:me x:y]" {
		s.t.Fatalf("the metadata of a version: %+v, %v", v, err)
	}
	s.ok("DeleteMetadata", s.kv.forget("team/app"))
	if _, err := s.kv.get("team/app", 0); !s.kv.missing(err) {
		s.t.Fatalf("a secret that was removed: %v", err)
	}
}

// mounts upgrades a mount of version 1 and moves it.
func (s *kvStory) mounts(r *harness, prefix string) {
	from, to := prefix+"-one", prefix+"-two/below"
	r.must(204, "POST", "sys/mounts/"+from, map[string]any{"type": "kv"})
	for i := range 50 {
		r.must(204, "PUT", fmt.Sprintf("%s/s%d", from, i), map[string]int{"v": i})
	}
	s.ok("TuneMount", s.kv.tune(from, "2"))
	if v, err := s.kv.tuned(from); err != nil || v != "2" {
		s.t.Fatalf("ListMounts: version %q, %v", v, err)
	}
	for i := range 50 {
		got := string(r.must(200, "GET", fmt.Sprintf("%s/data/s%d", from, i), nil).Body)
		if !strings.Contains(got, fmt.Sprintf(`"data":{"v":%d}`, i)) || !strings.Contains(got, `"version":1`) {
			s.t.Fatalf("s%d is %s", i, got)
		}
	}
	if err := s.kv.tune(from, "1"); err == nil {
		s.t.Fatal("a mount went back to version 1")
	}
	s.ok("Remount", s.kv.remount(from, to))
	r.must(200, "GET", to+"/data/s7", nil)
	r.must(404, "GET", from+"/data/s7", nil)
	if err := s.kv.remount("nowhere", "x"); err == nil {
		s.t.Fatal("what is not there was moved")
	}
}

// lists are what only one of the libraries has.
func lists(t *testing.T, c *bao.Client) {
	kv := c.KVv2("bao")
	for _, path := range []string{"l/a", "l/b/c"} {
		if _, err := kv.Put(t.Context(), path, map[string]any{"k": path}); err != nil {
			t.Fatal(err)
		}
	}
	for name, list := range map[string]func() (*bao.KVList, error){
		"[a b/]":  func() (*bao.KVList, error) { return kv.List(t.Context(), "l") },
		"[a b/c]": func() (*bao.KVList, error) { return kv.Scan(t.Context(), "l") },
	} {
		got, err := list()
		if err != nil || fmt.Sprint(got.Keys) != name {
			t.Errorf("%+v, %v; want %s", got, err, name)
		}
	}
	detailed, err := kv.ScanWithDetails(t.Context(), "l")
	if err != nil || len(detailed.Metadata) != 2 || detailed.Metadata["b/c"].CurrentVersion != 1 {
		t.Errorf("ScanWithDetails: %+v, %v", detailed, err)
	}
	if none, err := kv.List(t.Context(), "nowhere"); err != nil || none != nil {
		t.Errorf("a list of nothing: %+v, %v", none, err)
	}
}

// TestTrap22DeletedVersionIs404WithABody: a version that was deleted is 404 with all that is known
// of it, and clients take that for an answer.
func TestTrap22DeletedVersionIs404WithABody(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	r.must(204, "POST", "sys/mounts/v2", map[string]any{"type": "kv", "options": map[string]any{"version": 2}})
	r.run(0, "", "kv", "put", "v2/app", "a=b")
	r.run(0, "", "kv", "delete", "v2/app")
	reply := r.must(404, "GET", "v2/data/app", nil)
	for _, part := range []string{`"data":{"data":null,"metadata":{"created_time":`,
		`"destroyed":false,"version":1}}`, `"request_id"`} {
		if !strings.Contains(string(reply.Body), part) {
			t.Errorf("%s has no %s", reply.Body, part)
		}
	}
	c, err := vault.NewClient(&vault.Config{Address: r.URL()})
	if err != nil {
		t.Fatal(err)
	}
	c.SetToken(r.root)
	if s, err := c.Logical().Read("v2/data/app"); err != nil || s.Data["metadata"] == nil {
		t.Errorf("Logical().Read: %+v, %v", s, err)
	}
	out, _ := r.run(0, "", "kv", "get", "v2/app")
	if !strings.Contains(out, "======= Metadata =======\n") || strings.Contains(out, "= Data =") {
		t.Errorf("kv get printed %s", out)
	}
	if _, errs := r.run(0, "", "read", "v2/app"); !strings.Contains(errs,
		"Invalid path for a versioned K/V secrets engine") {
		t.Errorf("a path of version 1: %s", errs)
	}
}

// TestKVOnTheCommandLine: each command against the real server, of both versions, and an upgrade
// between them.
func TestKVOnTheCommandLine(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	out, _ := r.run(0, "", "secrets", "enable", "-path=app", "-version=1", "kv")
	out += first(r.run(0, "", "kv", "put", "-mount=app", "db", "user=alice", "password=hunter2"))
	out += first(r.run(0, "", "kv", "get", "app/db"))
	out += first(r.run(0, "", "kv", "enable-versioning", "app"))
	out += first(r.run(0, "", "kv", "get", "-field=password", "app/db")) + "\n"
	r.run(0, "", "kv", "put", "-cas=1", "app/db", "user=bob")
	_, errs := r.run(2, "", "kv", "put", "-cas=1", "app/db", "user=eve")
	r.run(0, "", "kv", "patch", "app/db", "password=x")
	r.run(0, "", "kv", "patch", "-method=rw", "-remove-data=password", "app/db", "user=carol")
	out += first(r.run(0, "", "kv", "get", "-format=yaml", "-field=user", "app/db"))
	r.run(0, "", "kv", "rollback", "-version=1", "app/db")
	r.run(0, "", "kv", "destroy", "-versions=2,3", "app/db")
	r.run(0, "", "kv", "delete", "-versions=4", "app/db")
	r.run(0, "", "kv", "undelete", "-versions=4", "app/db")
	r.run(0, "", "kv", "metadata", "put", "-max-versions=7", "-custom-metadata=owner=me", "app/db")
	r.run(0, "", "kv", "metadata", "patch", "-remove-custom-metadata=owner", "-delete-version-after=1h", "app/db")
	out += first(r.run(0, "", "kv", "metadata", "get", "-field=max_versions", "app/db")) + "\n"
	out += first(r.run(0, "", "kv", "list", "app"))
	out += first(r.run(0, "", "secrets", "tune", "-description=of the team", "app"))
	out += first(r.run(0, "", "secrets", "list"))
	r.run(0, "", "secrets", "move", "app", "team/app")
	out += first(r.run(0, "", "kv", "get", "-field=password", "-mount=team/app", "db")) + "\n"
	r.run(0, "", "kv", "metadata", "delete", "team/app/db")
	_, gone := r.run(2, "", "kv", "get", "team/app/db")
	for _, part := range []string{
		"Success! Data written to: app/db\n", "====== Data ======\nKey         Value\n---         -----\npassword    " +
			"hunter2\nuser        alice\n",
		"Success! Tuned the secrets engine at: app/\n", "\nhunter2\n", "\n7\n", "Keys\n----\ndb\n", "of the team",
	} {
		if !strings.Contains(out, part) {
			t.Errorf("nothing printed %q:\n%s", part, out)
		}
	}
	if !strings.Contains(errs, "check-and-set parameter did not match the current version") ||
		!strings.Contains(gone, "No value found at team/app/data/db") {
		t.Errorf("refusals: %s\n%s", errs, gone)
	}
}

func first(out, _ string) string { return out }
