package cli

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/openbao/openbao/api/v2"
)

// TestImport: the two sides have flags and variables of their own, and a command line that cannot
// work sends nothing. Imports themselves are tested with real servers.
func TestImport(t *testing.T) {
	self := map[string][]answer{"GET auth/token/lookup-self": {ok(`{"data":{}}`)}, "GET sys/seal-status": {ok(unsealed)}}
	runAll(t, []run{
		{name: "import-help", args: []string{"import", "openbao", "-h"}},
		{name: "import-no-source", args: []string{"import", "openbao"}, want: 1},
		{name: "import-no-token-file", args: []string{"import", "vault", "-source-token-file=HOME/none"}, want: 1},
		{name: "import-rate", args: []string{"import", "vault", "-rate=-1"}, want: 1},
		{name: "import-curl", args: []string{"import", "vault", "-output-curl-string"}, want: 1},
		{name: "import-same", args: []string{"import", "vault", "-address=SERVER", "-source-token-file=-", "-rate=0"},
			env:   map[string]string{"VAULT_NAMESPACE": "team/", "BAO_TOKEN": "s.other", "SEALGATE_TOKEN": "s.ours"},
			stdin: "s.theirs\n", want: 1, answers: self},
		{name: "import-denied", args: []string{"import", "vault", "-address=SERVER", "-format=json"}, want: 2,
			env:     map[string]string{"VAULT_TOKEN": "s.wrong", "VAULT_MAX_RETRIES": "0"},
			answers: map[string][]answer{"GET auth/token/lookup-self": {refusal(403, "permission denied")}}},
	})
}

// TestImportFollowsNoRedirect: neither side's token goes to the address that a redirect names, not
// even at the same host.
func TestImportFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	var reached atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	t.Cleanup(elsewhere.Close)
	for _, code := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect,
		http.StatusPermanentRedirect} {
		standby := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", elsewhere.URL+r.URL.Path)
			w.WriteHeader(code)
		}))
		t.Cleanup(standby.Close)
		i := &importRun{base: &base{conn: connection{address: standby.URL}}, prefix: "BAO_"}
		i.source.address = standby.URL
		from, to, err := i.clients()
		if err != nil {
			t.Fatal(err)
		}
		for side, client := range map[string]*api.Client{"source": from, "destination": to} {
			_, err = imported{client}.Call(t.Context(), "GET", "sys/mounts", nil, nil)
			if err == nil || !strings.Contains(err.Error(), "redirects to \""+elsewhere.URL+"\"") {
				t.Errorf("%s, %d: %v", side, code, err)
			}
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d requests were redirected", n)
	}
}
