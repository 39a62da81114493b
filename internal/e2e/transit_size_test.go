package e2e

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// TestTransitSizes: batches of 10,000 items, which the listener must allow (by default it takes
// 1,000 strings, as OpenBao), texts of 1 MiB, and what is beyond the limits of a request.
func TestTransitSizes(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	config := Config(r.Addr, staticSeal) + socketListener
	if err := r.WriteConfig(strings.Replace(config, "tls_disable = true",
		"tls_disable = true\n  max_request_json_strings = 50000", 1)); err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	r.mustInit()
	r.must(204, "POST", "sys/mounts/transit", map[string]string{"type": "transit"})
	r.must(200, "POST", "transit/keys/k", map[string]string{})
	var out struct {
		Data struct {
			Results []struct{ Ciphertext, Plaintext, Error, Reference string } `json:"batch_results"`
		}
	}
	const many = 10_000
	items := make([]map[string]string, many)
	for i := range items {
		items[i] = map[string]string{"plaintext": base64.StdEncoding.EncodeToString([]byte(fmt.Sprint(i))),
			"reference": fmt.Sprint("<", i, "> é")}
	}
	r.decode(r.must(200, "POST", "transit/encrypt/k", map[string]any{"batch_input": items}), &out)
	if len(out.Data.Results) != many {
		t.Fatalf("%d results", len(out.Data.Results))
	}
	back := make([]map[string]string, many)
	for i, one := range out.Data.Results {
		if one.Reference != items[i]["reference"] {
			t.Fatalf("reference %q of item %d", one.Reference, i)
		}
		back[i] = map[string]string{"ciphertext": one.Ciphertext}
	}
	r.decode(r.must(200, "POST", "transit/decrypt/k", map[string]any{"batch_input": back}), &out)
	for i, one := range out.Data.Results {
		if one.Plaintext != items[i]["plaintext"] || one.Error != "" {
			t.Fatalf("item %d: %+v", i, one)
		}
	}

	big := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 1<<20)))
	sealed := r.data(200, "POST", "transit/encrypt/k", map[string]string{"plaintext": big})["ciphertext"]
	if got := r.data(200, "POST", "transit/decrypt/k", map[string]any{"ciphertext": sealed})["plaintext"]; got != big {
		t.Error("1 MiB decrypts to something else")
	}
	r.must(200, "POST", "transit/rewrap/k", map[string]any{"ciphertext": sealed})
	r.must(200, "POST", "transit/hmac/k", map[string]any{"input": big})

	if reply := r.call("POST", "transit/encrypt/k", map[string]string{"plaintext": strings.Repeat(big, 30)}); reply.Code !=
		413 || !strings.Contains(reply.Errors(), "request body too large") {
		t.Errorf("a text beyond the limit: %d %s", reply.Code, reply.Errors())
	}
	for len(items) < 200_000 {
		items = append(items, items...)
	}
	if reply := r.call("POST", "transit/encrypt/k", map[string]any{"batch_input": items}); reply.Code != 400 ||
		!strings.Contains(reply.Errors(), "max_request_json_strings") {
		t.Errorf("a batch beyond the limit: %d %s", reply.Code, reply.Errors())
	}
	r.must(200, "POST", "transit/encrypt/k", letter) // the server continues
}

// TestManyKeysAndVersions has 1,000 keys of 100 versions, and a restart: the first use of each key
// finds its versions, and the list has them all.
func TestManyKeysAndVersions(t *testing.T) {
	t.Parallel()
	r := newTransitServer(t)
	const manyKeys, versions = 1000, 100
	r.must(200, "POST", "transit/keys/first", map[string]bool{"exportable": true, "allow_plaintext_backup": true})
	old := r.data(200, "POST", "transit/encrypt/first", letter)["ciphertext"]
	for range versions - 1 {
		r.must(200, "POST", "transit/keys/first/rotate", nil)
	}
	backup := r.data(200, "GET", "transit/backup/first", nil)["backup"]
	names := make(chan string)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for name := range names {
				reply, err := r.Do(t.Context(), "POST", "transit/restore/"+name, r.root, map[string]any{"backup": backup})
				if err != nil || reply.Code != 204 {
					t.Errorf("restoring %s: %d %s %v", name, reply.Code, reply.Body, err)
				}
			}
		})
	}
	for i := range manyKeys - 1 {
		names <- fmt.Sprintf("key-%04d", i)
	}
	close(names)
	wg.Wait()
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	if err := r.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	if got := r.data(200, "LIST", "transit/keys", nil)["keys"].([]any); len(got) != manyKeys {
		t.Errorf("%d keys", len(got))
	}
	for i := 0; i < manyKeys-1; i += 111 {
		name := fmt.Sprintf("key-%04d", i)
		if got := r.latest(name); got != versions {
			t.Errorf("%s has %d versions", name, got)
		}
		if got := r.data(200, "POST", "transit/decrypt/"+name,
			map[string]any{"ciphertext": old})["plaintext"]; got != "YQ==" {
			t.Errorf("%s decrypts to %v", name, got)
		}
	}
}
