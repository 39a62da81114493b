package cli

import "testing"

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
