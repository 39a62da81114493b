package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

// counted is a storage that counts, and fails on request.
type counted struct {
	*inmem.Store
	mu            sync.Mutex
	gets, commits int
	spared        int // this many commits before fail
	fail          error
	largest       int // operations of a commit
}

func (c *counted) Get(ctx context.Context, key string) ([]byte, error) {
	c.mu.Lock()
	c.gets++
	c.mu.Unlock()
	return c.Store.Get(ctx, key)
}

func (c *counted) Commit(ctx context.Context, b storage.Batch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		if c.spared--; c.spared < 0 {
			return c.fail
		}
	}
	c.commits++
	c.largest = max(c.largest, len(b.Ops))
	return c.Store.Commit(ctx, b)
}

// clock is a time that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// bench is a backend of version 2 with all that is around it.
type bench struct {
	testing.TB
	*versioned
	store *counted
	clock *clock
}

func freshV2(t testing.TB) *bench {
	t.Helper()
	store := &counted{Store: inmem.New()}
	t.Cleanup(func() { _ = store.Close() })
	return openV2(t, store)
}

func openV2(t testing.TB, store *counted) *bench {
	t.Helper()
	b := &bench{TB: t, store: store, clock: &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
	d, err := Factory(Options{Now: b.clock.Now})(store,
		mount.Entry{Path: "secret/", Type: "kv", Options: map[string]string{"version": "2"}})
	if err != nil {
		t.Fatal(err)
	}
	b.versioned = d.(*versioned)
	return b
}

// ask sends "path?query" and a body.
func (b *bench) ask(op mount.Operation, path, body string) (*mount.Response, error) {
	b.Helper()
	path, query, _ := strings.Cut(path, "?")
	r := &mount.Request{Operation: op, Path: path}
	var err error
	if r.Query, err = url.ParseQuery(query); err != nil {
		b.Fatal(err)
	}
	if body != "" {
		dec := json.NewDecoder(strings.NewReader(body))
		dec.UseNumber()
		if err := dec.Decode(&r.Data); err != nil {
			b.Fatal(err)
		}
	}
	if op == mount.Update || op == mount.Create || op == mount.Patch { // as the API does
		if _, r.Found, err = b.Find(b.Context(), path); err != nil {
			return nil, err
		}
	}
	return b.Handle(b.Context(), r)
}

// shownV2 is a response in short: status, data, warnings.
func shownV2(t testing.TB, r *mount.Response, err error) string {
	t.Helper()
	switch {
	case err != nil:
		return "error: " + err.Error()
	case r == nil:
		return "nothing"
	}
	text := "null"
	switch data := r.Data.(type) {
	case nil:
	case json.RawMessage:
		text = string(data)
	default:
		b, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
	}
	if r.Status != 0 {
		text = fmt.Sprint(r.Status, " ", text)
	}
	return strings.Join(append([]string{text}, r.Warnings...), " ! ")
}

func (b *bench) expect(op mount.Operation, path, body, want string) {
	b.Helper()
	r, err := b.ask(op, path, body)
	if got := shownV2(b, r, err); got != want &&
		(!strings.HasSuffix(want, "...") || !strings.HasPrefix(got, strings.TrimSuffix(want, "..."))) {
		b.Errorf("%s %s %s\n got %s\nwant %s", op, path, body, got, want)
	}
}

const (
	at0 = `"created_time":"2026-01-02T03:04:05Z"`
	at1 = `"created_time":"2026-01-02T03:04:06Z"`
)

func version2(at, deleted, destroyed string, n int) string {
	return fmt.Sprintf(`{%s,"custom_metadata":null,"deletion_time":%q,"destroyed":%s,"version":%d}`, at, deleted,
		destroyed, n)
}

func TestVersion2(t *testing.T) {
	t.Parallel()
	b := freshV2(t)
	b.expect(mount.Read, "data/a", "", "nothing")
	b.expect(mount.List, "metadata/", "", "nothing")
	b.expect(mount.Create, "data/a", `{"data":{"z":1,"a":{"y":[true,null,"<ü>"]}},"options":{"cas":0}}`,
		version2(at0, "", "false", 1))
	b.clock.pass(time.Second)
	b.expect(mount.Update, "data/a", `{"data":{"big":12345678901234567890.123456789},"options":{}}`,
		version2(at1, "", "false", 2))
	b.expect(mount.Read, "data/a", "", `{"data":{"big":12345678901234567890.123456789},"metadata":`+version2(at1, "",
		"false", 2)+`}`)
	b.expect(mount.Read, "data/a?version=1", "", `{"data":{"a":{"y":[true,null,"<ü>"]},"z":1},"metadata":`+version2(at0,
		"", "false", 1)+`}`)
	b.expect(mount.Read, "data/a?version=0", "", `{"data":{"big":12345678901234567890.123456789},"metadata":`+version2(at1,
		"", "false", 2)+`}`)
	b.expect(mount.Read, "data/a?version=3", "", "nothing")
	b.expect(mount.Read, "data/a?version=x", "",
		`error: Field validation failed: error converting input for field "version"...`)
	b.expect(mount.Delete, "data/a", "", "nothing")
	b.expect(mount.Read, "data/a", "", `404 {"data":null,"metadata":`+version2(at1, "2026-01-02T03:04:06Z", "false",
		2)+`}`)
	b.expect(mount.Read, "data/a?version=1", "", `{"data":{"a":{"y":[true,null,"<ü>"]},"z":1},"metadata":`+version2(at0,
		"", "false", 1)+`}`)
	b.expect(mount.Patch, "data/a", `{"data":{"x":1}}`,
		`404 {"data":null,"metadata":`+version2(at1, "2026-01-02T03:04:06Z", "false", 2)+`}`)
	b.expect(mount.Update, "undelete/a", `{"versions":["2"]}`, "nothing")
	b.expect(mount.Patch, "data/a", `{"data":{"x":{"y":1,"n":null},"big":null},"options":{"cas":"2"}}`,
		version2(at1, "", "false", 3))
	b.expect(mount.Read, "data/a", "", `{"data":{"x":{"y":1}},"metadata":`+version2(at1, "", "false", 3)+`}`)
	b.expect(mount.Update, "destroy/a", `{"versions":"1,3,9"}`, "nothing")
	b.expect(mount.Update, "undelete/a", `{"versions":[1,3]}`, "nothing")
	b.expect(mount.Read, "data/a", "", `404 {"data":null,"metadata":`+version2(at1, "", "true", 3)+`}`)
	b.expect(mount.Update, "delete/a", `{"versions":[2]}`, "nothing")
	b.expect(mount.Read, "metadata/a", "",
		`{"cas_required":false,`+at0+`,"current_metadata_version":0,"current_version":3,"custom_metadata":null,`+
			`"delete_version_after":"0s","max_versions":0,"metadata_cas_required":false,"oldest_version":0,"updated_time":"2026-01-02T03:04:06Z",`+
			`"versions":{"1":{`+at0+`,"deletion_time":"","destroyed":true},"2":{`+at1+`,"deletion_time":"2026-01-02T03:04:06Z","destroyed":false},`+
			`"3":{`+at1+`,"deletion_time":"","destroyed":true}}}`)
	b.expect(mount.Delete, "metadata/a", "", "nothing")
	b.expect(mount.Read, "metadata/a", "", "nothing")
	b.expect(mount.Create, "data/a", `{"data":{}}`, version2(at1, "", "false", 1))
	if left := keysBelow(t, b.store, ""); fmt.Sprint(left) != "[m/a]" {
		t.Errorf("left in storage: %v", left)
	}
}

func TestRefusalsOfVersion2(t *testing.T) {
	t.Parallel()
	b := freshV2(t)
	const mismatch = "error: check-and-set parameter did not match the current version"
	b.expect(mount.Create, "data/a", `{"data":{"k":"v"}}`, `{...`)
	for _, tc := range []struct {
		op               mount.Operation
		path, body, want string
	}{
		{mount.Update, "data/a", `{"k":"v"}`, "error: no data provided..."},
		{mount.Update, "data/a", ``, "error: no data provided..."},
		{mount.Update, "data/a", `{"data":null}`, "error: no data provided..."},
		{mount.Update, "data/a", `{"data":"x"}`,
			`error: Field validation failed: error converting input for field "data": it must be an object`},
		{mount.Update, "data/a", `{"data":{},"options":[]}`,
			`error: Field validation failed: error converting input for field "options": it must be an object`},
		{mount.Update, "data/a", `{"data":{},"options":{"cas":"x"}}`,
			`error: Field validation failed: error converting input for field "cas"...`},
		{mount.Update, "data/a", `{"data":{},"options":{"cas":0}}`, mismatch},
		{mount.Update, "data/a", `{"data":{},"options":{"cas":2}}`, mismatch},
		{mount.Update, "data/a", `{"data":{},"options":{"cas":-1}}`, mismatch},
		{mount.Patch, "data/a", `{"data":{},"options":{"cas":2}}`, mismatch},
		{mount.Patch, "data/none", `{"data":{}}`, "404 null"},
		{mount.Patch, "metadata/none", `{"max_versions":1}`, "404 null"},
		{mount.Update, "delete/a", ``, "error: no version number provided..."},
		{mount.Update, "destroy/a", `{"versions":[]}`, "error: no version number provided..."},
		{mount.Update, "undelete/a", `{"versions":["x"]}`,
			`error: Field validation failed: error converting input for field "versions"...`},
		{mount.Update, "destroy/none", `{"versions":[1]}`, "nothing"},
		{mount.Delete, "data/none", ``, "nothing"},
		{mount.Delete, "metadata/none", ``, "nothing"},
		{mount.List, "data/", ``, "error: unsupported operation"},
		{mount.Delete, "destroy/a", ``, "error: unsupported operation"},
		{mount.Delete, "config", ``, "error: unsupported operation"},
		{mount.Update, "metadata/a", `{"max_versions":-1}`, "error: max_versions is -1..."},
		{mount.Update, "metadata/a", `{"max_versions":10001}`, "error: max_versions is 10001..."},
		{mount.Update, "metadata/a", `{"delete_version_after":"-1s"}`, "error: delete_version_after must not be negative..."},
		{mount.Update, "metadata/a", `{"delete_version_after":"soon"}`,
			`error: Field validation failed: error converting input for field "delete_version_after"...`},
		{mount.Update, "metadata/a", `{"custom_metadata":{"a":[1]}}`,
			`error: the value of "a" in custom_metadata must be a string`},
		{mount.Update, "metadata/a", `{"custom_metadata":{"":"x"}}`, `error: a key of custom_metadata has 0 bytes...`},
		{mount.Update, "metadata/a", `{"custom_metadata":{"a":"` + strings.Repeat("x", 513) + `"}}`,
			`error: the value of "a" in custom_metadata has 513 bytes...`},
		{mount.Update, "metadata/a", `{"custom_metadata":"x"}`,
			`error: Field validation failed: error converting input for field "custom_metadata"...`},
		{mount.Read, "a", ``, "404 null ! Invalid path for a versioned K/V secrets engine..."},
		{mount.Update, "a", `{"k":"v"}`, "404 null ! Invalid path for a versioned K/V secrets engine..."},
		{mount.Read, "data", ``, "404 null ! Invalid path for a versioned K/V secrets engine..."},
		{mount.Read, "data/", ``, "404 null ! Invalid path for a versioned K/V secrets engine..."},
		{mount.List, "", ``, "404 null ! Invalid path for a versioned K/V secrets engine..."},
		{mount.Update, "data/a//b", `{"data":{}}`, `error: the path "a//b" cannot be stored...`},
		{mount.Read, "data/a//b", ``, "nothing"},
		{mount.List, "metadata/a//", ``, "nothing"},
	} {
		b.expect(tc.op, tc.path, tc.body, tc.want)
	}
	_, err := b.ask(mount.Update, "data/big", `{"data":{"a":"`+strings.Repeat("x", storage.MaxBytes)+`"}}`)
	if !fault.Is(err, fault.TooLarge) || !strings.Contains(err.Error(), "1048576") {
		t.Errorf("a value beyond the limit: %v", err)
	}
	b.expect(mount.Read, "data/a", ``, `{"data":{"k":"v"},"metadata":`+version2(at0, "", "false", 1)+`}`)
}

func TestUnknownFieldsAreToldWhereThereIsAnAnswer(t *testing.T) {
	t.Parallel()
	b := freshV2(t)
	b.expect(mount.Create, "data/a", `{"data":{"k":"v"},"zoo":1,"foo":2}`,
		version2(at0, "", "false", 1)+" ! Endpoint ignored these unrecognized parameters: [foo zoo]")
}

func TestOldVersionsArePushedOut(t *testing.T) {
	t.Parallel()
	b := freshV2(t)
	large := strings.Repeat("x", inlineMost)
	for i := range 14 {
		v := fmt.Sprint(i)
		if i%2 == 0 {
			v += large
		}
		b.expect(mount.Update, "data/a", `{"data":{"v":"`+v+`"}}`, "{...")
	}
	b.expect(mount.Read, "data/a?version=4", "", "nothing")
	b.expect(mount.Read, "data/a?version=5", "", `{"data":{"v":"4xxx...`)
	if left := keysBelow(t, b.store, "d/"); len(left) != 9 {
		t.Errorf("%d values are kept beside the current one: %v", len(left), left)
	}
	b.expect(mount.Update, "metadata/a", `{"max_versions":1}`, "nothing")
	b.expect(mount.Update, "data/a", `{"data":{"v":"last"}}`, "{...")
	b.expect(mount.Read, "metadata/a", "",
		`{"cas_required":false,`+at0+`,"current_metadata_version":1,"current_version":15,"custom_metadata":null,`+
			`"delete_version_after":"0s","max_versions":1,"metadata_cas_required":false,"oldest_version":15,...`)
	if left := keysBelow(t, b.store, "d/"); len(left) != 0 {
		t.Errorf("values are left: %v", left)
	}
}

// TestManyVersionsAtOnce: what does not fit into one commit is decided in one; a crash delays the
// rest and loses nothing.
func TestManyVersionsAtOnce(t *testing.T) {
	t.Parallel()
	b := freshV2(t)
	b.expect(mount.Update, "config", `{"max_versions":500}`, "nothing")
	var numbers []string
	for i := range 200 {
		b.expect(mount.Update, "data/a", `{"data":{"v":1}}`, "{...")
		numbers = append(numbers, fmt.Sprint(i+1))
	}
	b.store.fail, b.store.spared = errors.New("the process is killed here"), 2
	if _, err := b.ask(mount.Update, "destroy/a", `{"versions":[`+strings.Join(numbers[:199], ",")+`]}`); !errors.Is(err,
		b.store.fail) {
		t.Errorf("destroying 199 versions and dying: %v", err)
	}
	b.store.fail = nil
	b.expect(mount.Read, "data/a?version=3", "", `404 {"data":null,...`)
	if n := len(keysBelow(t, b.store, "d/")); n == 0 || n >= 199 {
		t.Errorf("%d of 199 values are left; the kill was to come in the middle", n)
	}
	again := openV2(t, b.store)
	if err := again.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := keysBelow(t, b.store, ""); fmt.Sprint(left) != "[config m/a]" {
		t.Errorf("left are %v", left)
	}
	again.expect(mount.Read, "data/a", "", `{"data":{"v":1},...`)
	again.expect(mount.Delete, "metadata/a", "", "nothing")
	if b.store.largest > mount.MaxOps {
		t.Errorf("a commit had %d operations", b.store.largest)
	}
}

func TestVersionsAreDeletedByTheClock(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		mount, own string
		want       time.Duration // 0: never
	}{
		{"0s", "0s", 0}, {"10s", "0s", 10 * time.Second}, {"0s", "10s", 10 * time.Second}, {"10s", "5s", 5 * time.Second},
		{"5s", "10s", 5 * time.Second},
		{"-1s", "5s", 0}, {"0s", "2562047h", 2562047 * time.Hour},
	} {
		b := freshV2(t)
		b.expect(mount.Update, "config", `{"delete_version_after":"`+tc.mount+`"}`, "nothing")
		b.expect(mount.Update, "metadata/a", `{"delete_version_after":"`+tc.own+`"}`, "nothing")
		b.expect(mount.Update, "data/a", `{"data":{"k":"v"}}`, "{...")
		b.clock.pass(4 * time.Second)
		b.expect(mount.Read, "data/a", "", `{"data":{"k":"v"},...`)
		b.clock.pass(tc.want)
		want := `{"data":{"k":"v"},...`
		if tc.want != 0 && tc.want < time.Hour {
			want = `404 {"data":null,...`
		}
		b.expect(mount.Read, "data/a", "", want)
		b.expect(mount.Update, "undelete/a", `{"versions":[1]}`, "nothing")
		b.expect(mount.Read, "data/a", "", `{"data":{"k":"v"},...`)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	b := freshV2(t)
	b.expect(mount.Read, "config", "",
		`{"cas_required":false,"delete_version_after":"0s","max_versions":0,"metadata_cas_required":false}`)
	b.expect(mount.Update, "config", `{"max_versions":"5","cas_required":"true","delete_version_after":90}`, "nothing")
	b.expect(mount.Update, "config", `{"metadata_cas_required":true}`, "nothing")
	b.expect(mount.Read, "config", "",
		`{"cas_required":true,"delete_version_after":"1m30s","max_versions":5,"metadata_cas_required":true}`)
	b.expect(mount.Update, "config", `{"max_versions":-5}`, "error: max_versions is -5...")
	b.expect(mount.Update, "data/a", `{"data":{}}`, "error: check-and-set parameter required for this call...")
	b.expect(mount.Update, "data/a", `{"data":{},"options":{"cas":0}}`, "{...")
	b.expect(mount.Update, "metadata/a", `{"max_versions":2}`, "error: check-and-set parameter required for this call...")
	b.expect(mount.Update, "metadata/a", `{"max_versions":2,"metadata_cas":0,"cas_required":false}`,
		`null ! "cas_required" set to false, but is mandated by backend config. This value will be ignored.`)
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	b := freshV2(t)
	custom := func(want string) {
		t.Helper()
		r, err := b.ask(mount.Read, "metadata/a", "")
		if got := shownV2(t, r, err); !strings.Contains(got, `"custom_metadata":`+want+`,`) {
			t.Errorf("want %s, got %s", want, got)
		}
	}
	b.expect(mount.Create, "metadata/a", ``, "nothing")
	b.expect(mount.Read, "data/a", "", "nothing")
	custom("null")
	b.expect(mount.Update, "metadata/a", `{"custom_metadata":{"owner":"me","team":"x","n":5},"cas_required":true}`,
		"nothing")
	custom(`{"n":"5","owner":"me","team":"x"}`)
	b.expect(mount.Patch, "metadata/a", `{"custom_metadata":{"owner":null,"x":"y"},"cas_required":null,"max_versions":3}`,
		"nothing")
	custom(`{"n":"5","team":"x","x":"y"}`)
	b.expect(mount.Update, "metadata/a", `{"max_versions":4}`, "nothing")
	custom(`{"n":"5","team":"x","x":"y"}`)
	b.expect(mount.Update, "metadata/a", `{}`, "nothing")
	b.expect(mount.Update, "metadata/a", `{"metadata_cas":3,"custom_metadata":{"z":"1"}}`,
		"error: metadata check-and-set parameter did not match the current version")
	b.expect(mount.Update, "metadata/a", `{"metadata_cas":4,"custom_metadata":{"z":"1"}}`, "nothing")
	custom(`{"z":"1"}`)
	b.expect(mount.Update, "data/a", `{"data":{"k":"v"}}`,
		`{`+at0+`,"custom_metadata":{"z":"1"},"deletion_time":"","destroyed":false,"version":1}`)
	b.expect(mount.Patch, "metadata/a", `{"custom_metadata":null}`, "nothing")
	custom("null")
	var many []string
	for i := range 65 {
		many = append(many, fmt.Sprintf(`"k%d":"v"`, i))
	}
	b.expect(mount.Update, "metadata/a", `{"custom_metadata":{`+strings.Join(many, ",")+`}}`,
		"error: custom_metadata has 65 entries; at most 64 are allowed")
}

func TestListsOfVersion2(t *testing.T) {
	t.Parallel()
	b := freshV2(t)
	for _, path := range []string{"a", "a/b", "a/c/d", "b", "c/x", "a-b"} {
		b.expect(mount.Create, "data/"+path, `{"data":{"k":"v"}}`, "{...")
	}
	b.expect(mount.List, "metadata/", "", `{"keys":["a","a-b","a/","b","c/"]}`)
	b.expect(mount.List, "metadata/?limit=2&after=a-b", "", `{"keys":["a/","b"]}`)
	b.expect(mount.List, "metadata/a/", "", `{"keys":["b","c/"]}`)
	b.expect(mount.Scan, "metadata/", "", `{"keys":["a","a-b","a/b","a/c/d","b","c/x"]}`)
	b.expect(mount.Scan, "metadata/a/", "", `{"keys":["b","c/d"]}`)
	b.expect(mount.Scan, "metadata/?after=a-b&limit=3", "", `{"keys":["a/b","a/c/d","b"]}`)
	b.expect(mount.List, "metadata/?limit=x", "", `error: "limit" must be a number...`)
	b.expect(mount.List, "detailed-metadata/c/", "", `{"key_info":{"x":{"cas_required":false,...`)
	b.expect(mount.Scan, "detailed-metadata/", "", `{"key_info":{"a":{"cas_required":false,...`)
	b.expect(mount.Delete, "data/b", "", "nothing")
	b.expect(mount.List, "metadata/", "", `{"keys":["a","a-b","a/","b","c/"]}`)
}

func TestSubkeys(t *testing.T) {
	t.Parallel()
	b := freshV2(t)
	b.expect(mount.Create, "data/a", `{"data":{"k":"v","o":{"p":{"q":1}},"e":{}}}`, "{...")
	meta := `{"metadata":` + version2(at0, "", "false", 1)
	b.expect(mount.Read, "subkeys/a", "", meta+`,"subkeys":{"e":null,"k":null,"o":{"p":{"q":null}}}}`)
	b.expect(mount.Read, "subkeys/a?depth=1&version=1", "", meta+`,"subkeys":{"e":null,"k":null,"o":null}}`)
	b.expect(mount.Read, "subkeys/a?depth=2", "", meta+`,"subkeys":{"e":null,"k":null,"o":{"p":null}}}`)
	b.expect(mount.Read, "subkeys/none", "", "nothing")
	b.expect(mount.Delete, "data/a", "", "nothing")
	b.expect(mount.Read, "subkeys/a", "", `404 {"metadata":`+version2(at0, "2026-01-02T03:04:05Z", "false",
		1)+`,"subkeys":null}`)
}

func TestExistsInVersion2(t *testing.T) {
	t.Parallel()
	b := freshV2(t)
	b.expect(mount.Create, "data/there", `{"data":{}}`, "{...")
	for path, want := range map[string]bool{
		"data/there": true, "metadata/there": true, "data/not": false, "metadata/not": false, "delete/not": true,
		"config": true, "x": true, "data/": true, "data/a//b": false,
	} {
		if got, _, err := b.Find(t.Context(), path); got != want || err != nil {
			t.Errorf("Find(%q) = %v, %v", path, got, err)
		}
	}
}

// TestFoundIsCheckedAgain: two writes find the same record before either holds the lock. The second
// must not write over the first from what it found.
func TestFoundIsCheckedAgain(t *testing.T) {
	t.Parallel()
	for _, start := range []string{"", `{"data":{"k":"old"}}`} {
		b := freshV2(t)
		if start != "" {
			b.expect(mount.Create, "data/a", start, "{...")
		}
		var requests []*mount.Request
		for _, value := range []string{"one", "two"} {
			_, found, err := b.Find(t.Context(), "data/a")
			if err != nil {
				t.Fatal(err)
			}
			requests = append(requests, &mount.Request{Operation: mount.Update, Path: "data/a", Found: found,
				Data: map[string]any{"data": map[string]any{"k": value}}})
		}
		for _, r := range requests {
			if _, err := b.Handle(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		last := len(requests)
		if start != "" {
			last++
		}
		b.expect(mount.Read, fmt.Sprintf("data/a?version=%d", last-1), "", `{"data":{"k":"one"}...`)
		b.expect(mount.Read, fmt.Sprintf("data/a?version=%d", last), "", `{"data":{"k":"two"}...`)
	}
}

func TestReadsOfTheBarrier(t *testing.T) {
	t.Parallel()
	b := freshV2(t)
	b.expect(mount.Create, "data/small", `{"data":{"k":"v"}}`, "{...")
	b.expect(mount.Create, "data/large", `{"data":{"k":"`+strings.Repeat("x", inlineMost)+`"}}`, "{...")
	for path, want := range map[string]int{"small": 1, "large": 2} {
		before := b.store.gets
		b.expect(mount.Read, "data/"+path, "", "{...")
		if n := b.store.gets - before; n != want {
			t.Errorf("a read of a %s value took %d reads of the barrier, not %d", path, n, want)
		}
	}
	for path, body := range map[string]string{
		"data/small": `{"data":{"k":"w"}}`, "data/new": `{"data":{"k":"v"}}`, "metadata/small": `{"max_versions":9}`,
	} {
		before := b.store.gets
		if _, err := b.ask(mount.Update, path, body); err != nil {
			t.Fatal(err)
		}
		if n := b.store.gets - before; n != 2 {
			t.Errorf("a write to %s took %d reads of the barrier; want 2, of its record and of the settings", path, n)
		}
	}
	for _, step := range []func(){
		func() { b.expect(mount.Update, "data/small", `{"data":{"k":"v"}}`, "{...") },
		func() {
			b.expect(mount.Update, "data/large", `{"data":{"k":"`+strings.Repeat("y", inlineMost)+`"}}`, "{...")
		},
		func() { b.expect(mount.Patch, "data/small", `{"data":{"l":"v"}}`, "{...") },
		func() { b.expect(mount.Update, "destroy/small", `{"versions":[1,2,3]}`, "nothing") },
		func() { b.expect(mount.Update, "metadata/small", `{"max_versions":3}`, "nothing") },
		func() { b.expect(mount.Delete, "metadata/large", ``, "nothing") },
	} {
		before := b.store.commits
		if step(); b.store.commits != before+1 {
			t.Errorf("a change took %d commits", b.store.commits-before)
		}
	}
}

// TestOfTwoWritersOneIsRefused: many writers with check-and-set count as one would.
func TestOfTwoWritersOneIsRefused(t *testing.T) {
	t.Parallel()
	b := freshV2(t)
	b.expect(mount.Create, "data/n", `{"data":{"n":0}}`, "{...")
	const writers, each = 8, 20
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				for !b.increment() {
				}
			}
		})
	}
	wg.Wait()
	b.expect(mount.Read, "data/n", "", fmt.Sprintf(`{"data":{"n":%d},...`, writers*each))
}

// increment is a read and a write that only succeeds if no other write came between.
func (b *bench) increment() bool {
	r, err := b.ask(mount.Read, "data/n", "")
	if err != nil {
		b.Error(err)
		return true
	}
	var seen struct {
		Data     struct{ N int }
		Metadata struct{ Version int }
	}
	if err := json.Unmarshal(r.Data.(json.RawMessage), &seen); err != nil {
		b.Error(err)
		return true
	}
	_, err = b.ask(mount.Update, "data/n", fmt.Sprintf(`{"data":{"n":%d},"options":{"cas":%d}}`, seen.Data.N+1,
		seen.Metadata.Version))
	if err != nil && !strings.Contains(err.Error(), "check-and-set") {
		b.Error(err)
		return true
	}
	return err == nil
}

func TestDamageToVersion2(t *testing.T) {
	t.Parallel()
	b := freshV2(t)
	b.expect(mount.Create, "data/lost", `{"data":{"k":"`+strings.Repeat("x", inlineMost)+`"}}`, "{...")
	for _, key := range keysBelow(t, b.store, "d/") {
		if err := b.store.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Delete(key)}}); err != nil {
			t.Fatal(err)
		}
	}
	b.expect(mount.Read, "data/lost", "",
		`error: the secret at "lost" cannot be read: its record is damaged; overwrite it, or delete its metadata`)
	if err := b.store.Commit(t.Context(),
		storage.Batch{Ops: []storage.Op{storage.Put("m/bad", []byte("nonsense")),
			storage.Put("config", []byte("x"))}}); err != nil {
		t.Fatal(err)
	}
	b.expect(mount.Read, "data/bad", "",
		`error: the secret at "bad" cannot be read: its record is damaged; overwrite it, or delete its metadata`)
	if there, _, err := b.Find(t.Context(), "data/bad"); !there || err != nil {
		t.Errorf("a damaged secret is there: %v, %v", there, err)
	}
	b.expect(mount.Update, "data/x", `{"data":{}}`, `error: the mount's configuration is damaged...`)
	b.expect(mount.Update, "config", `{"max_versions":3}`, "nothing")
	b.expect(mount.Update, "data/x", `{"data":{}}`, `{...`)
	b.expect(mount.Update, "data/bad", `{"data":{"k":"new"},"options":{"cas":0}}`,
		`error: the secret at "bad" cannot be read...`)
	b.expect(mount.Update, "data/bad", `{"data":{"k":"new"}}`, `{...`)
	b.expect(mount.Read, "data/bad", "", `{"data":{"k":"new"}...`)
	b.expect(mount.Update, "data/lost", `{"data":{"k":"new"}}`, `{...`)
	b.expect(mount.Read, "data/lost", "", `{"data":{"k":"new"}...`)
	if err := b.store.Commit(t.Context(),
		storage.Batch{Ops: []storage.Op{storage.Put("m/bad", []byte("nonsense"))}}); err != nil {
		t.Fatal(err)
	}
	b.expect(mount.Delete, "metadata/bad", "", "nothing")
	b.expect(mount.Read, "data/bad", "", "nothing")
}

func keysBelow(t testing.TB, s mount.Storage, prefix string) (all []string) {
	t.Helper()
	names, err := s.List(t.Context(), prefix, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			all = append(all, keysBelow(t, s, prefix+name)...)
		} else {
			all = append(all, prefix+name)
		}
	}
	return all
}

func BenchmarkReadVersion2(b *testing.B) {
	d := freshV2(b)
	d.expect(mount.Create, "data/a", `{"data":{"value":"`+strings.Repeat("x", 256)+`"}}`, "{...")
	r := &mount.Request{Operation: mount.Read, Path: "data/a"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Handle(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}
