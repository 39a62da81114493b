package v1

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/storage/snapshot"
)

// save takes a snapshot over the API.
func (w *harness) save() []byte {
	w.t.Helper()
	a := w.do("GET", "sys/storage/raft/snapshot", "")
	if a.Code != 200 || a.Header().Get("Content-Type") != "application/gzip" ||
		a.Header().Get("Content-Disposition") != "attachment" {
		w.t.Fatalf("saving: %d %v %s", a.Code, a.Header(), a.Body)
	}
	return a.Body.Bytes()
}

func (w *harness) term() string {
	w.t.Helper()
	var status struct{ Term int }
	w.decode(w.do("GET", "sys/key-status", ""), &status)
	return fmt.Sprint(status.Term)
}

// TestSnapshotAndRestore: everything is as it was, the token of that time included; what came later
// is gone; and the barrier key is another, since the old one was used in between.
func TestSnapshotAndRestore(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	trail := w.audited("")
	w.expect("write", w.do("PUT", "secret/a", `{"k":"before"}`), 204, "")
	archive := w.save()
	info, err := snapshot.Read(t.Context(), bytes.NewReader(archive), nil)
	if err != nil || info.ClusterName != "test-cluster" || info.Storage != "inmem" ||
		bytes.Contains(archive, []byte("before")) {
		t.Fatalf("the archive: %+v, %v", info, err)
	}
	w.expect("write", w.do("PUT", "secret/a", `{"k":"after"}`), 204, "")
	w.expect("write", w.do("PUT", "secret/b", `{"k":"after"}`), 204, "")
	w.expect("rotate", w.do("PUT", "sys/rotate", ""), 204, "")
	w.expect("restore", w.do("PUT", "sys/storage/raft/snapshot", string(archive)), 204, "")
	if a := w.do("GET", "secret/a", ""); a.Code != 200 || !strings.Contains(a.Body.String(), `"before"`) {
		t.Errorf("after the restore: %d %s", a.Code, a.Body)
	}
	w.expect("what came later", w.do("GET", "secret/b", ""), 404, "")
	if term := w.term(); term != "2" {
		t.Errorf("the term is %s; want a second one beside that of the snapshot", term)
	}
	if n := strings.Count(w.trail(trail), `"path":"sys/storage/raft/snapshot"`); n != 4 {
		t.Errorf("%d records of save and restore; want a request and a response each", n)
	}
	w.expect("a snapshot of the restored", w.do("PUT", "sys/storage/raft/snapshot", string(w.save())), 204, "")
}

func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("write", w.do("PUT", "secret/a", `{"k":"mine"}`), 204, "")
	archive := w.save()
	other := unsealed(t)
	other.expect("write", other.do("PUT", "secret/a", `{"k":"other"}`), 204, "")
	foreign := other.save()
	flipped := bytes.Clone(archive)
	flipped[len(flipped)/2] ^= 1
	for name, body := range map[string][]byte{"nothing": nil, "text": []byte("no archive"),
		"cut off": archive[:len(archive)-40],
		"damaged": flipped, "another cluster's": foreign} {
		for _, path := range []string{"snapshot", "snapshot-force"} {
			if path == "snapshot-force" && name == "another cluster's" {
				continue
			}
			if path == "snapshot-force" {
				w.authorize("restore")
			}
			a := w.do("POST", "sys/storage/raft/"+path, string(body))
			if a.Code != 400 || !strings.Contains(a.Body.String(), "nothing was changed") && name != "nothing" {
				t.Errorf("%s, %s: %d %s", path, name, a.Code, a.Body)
			}
		}
	}
	custodians := newHarness(t, shamirSeal(t))
	keys := custodians.init(`{"secret_shares":1,"secret_threshold":1}`)
	custodians.expect("unseal", custodians.do("PUT", "sys/unseal", `{"key":"`+keys.Keys[0]+`"}`), 200, "")
	custodians.authorize("restore")
	custodians.expect("unsealing by itself here", custodians.do("POST", "sys/storage/raft/snapshot-force",
		string(archive)), 400, "")
	w.authorize("restore")
	w.expect("shamir's", w.do("POST", "sys/storage/raft/snapshot-force", string(custodians.save())), 400, "")
	if a := w.do("GET", "secret/a", ""); !strings.Contains(a.Body.String(), `"mine"`) {
		t.Errorf("after all that: %d %s", a.Code, a.Body)
	}
	w.authorize("restore")
	w.expect("by force", w.do("POST", "sys/storage/raft/snapshot-force", string(foreign)), 204, "")
	w.expect("the token of the previous cluster", w.do("GET", "secret/a", ""), 403, "")
	w.token = other.token
	if a := w.do("GET", "secret/a", ""); !strings.Contains(a.Body.String(), `"other"`) {
		t.Errorf("after the forced restore: %d %s", a.Code, a.Body)
	}
}

// TestSnapshotThatFails is cut off, so that it cannot pass for complete.
func TestSnapshotThatFails(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	noise := make([]byte, 400<<10)
	for i := range 4 { // more than what stays in buffers
		if _, err := rand.Read(noise); err != nil {
			t.Fatal(err)
		}
		w.expect("write", w.do("PUT", fmt.Sprint("secret/big", i), fmt.Sprintf(`{"k":"%x"}`, noise)), 204, "")
	}
	server := httptest.NewServer(w.api)
	defer server.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/v1/sys/storage/raft/snapshot", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", w.token)
	w.store.snapping.Store(true)
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err == nil || resp.StatusCode != 200 || b.Len() == 0 {
		t.Errorf("a snapshot that failed: %d, %d bytes, %v; want a beginning that is cut off", resp.StatusCode, b.Len(), err)
	}
}

// TestRestoreUnderSharesIsAudited: the restore seals the node, whose devices then take no entry.
// The client gets its 204, and the trail the response.
func TestRestoreUnderSharesIsAudited(t *testing.T) {
	t.Parallel()
	w := newHarness(t, shamirSeal(t))
	keys := w.init(`{"secret_shares":1,"secret_threshold":1}`).Keys
	w.do("PUT", "sys/unseal", fmt.Sprintf(`{"key":%q}`, keys[0]))
	trail := w.audited("")
	archive := w.save()
	w.expect("restore", w.do("PUT", "sys/storage/raft/snapshot", string(archive)), 204, "")
	if !strings.Contains(w.do("GET", "sys/seal-status", "").Body.String(), `"sealed":true`) {
		t.Error("the node is not sealed after the restore")
	}
	if n := strings.Count(w.trail(trail), `"path":"sys/storage/raft/snapshot"`); n != 4 {
		t.Errorf("%d entries of save and restore; want a request and a response each", n)
	}
}

// TestSnapshotOfADamagedStore names the damaged entry before anything is sent, and leaves it out on
// request.
func TestSnapshotOfADamagedStore(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.store.damaged.Store(&[]string{"core/audit-lost"})
	a := w.do("GET", "sys/storage/raft/snapshot", "")
	if a.Code != 500 || !strings.Contains(a.Body.String(), "core/audit-lost") ||
		!strings.Contains(a.Body.String(), "-skip-damaged") {
		t.Errorf("%d %.300s", a.Code, a.Body)
	}
	for what, a := range map[string]*httptest.ResponseRecorder{
		"query":  w.do("GET", "sys/storage/raft/snapshot?skip_damaged=true", ""),
		"header": w.do("GET", "sys/storage/raft/snapshot", "", snapshot.SkipHeader, "true"),
	} {
		info, err := snapshot.Read(t.Context(), a.Body, nil)
		if a.Code != 200 || err != nil || fmt.Sprint(info.Skipped) != "[core/audit-lost]" {
			t.Errorf("%s: %d %+v, %v", what, a.Code, info, err)
		}
	}
}
