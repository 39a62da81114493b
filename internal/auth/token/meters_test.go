package token

import (
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/metrics"
)

func TestTokensAndPoliciesAreTimed(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	r := metrics.New("vault", nil)
	s, err := Open(t.Context(), h.disk, Options{Now: h.clock.Now, Metrics: r})
	if err != nil {
		t.Fatal(err)
	}
	h.Store = s
	if err := h.WritePolicy(t.Context(),
		PolicyWrite{Name: "p", Text: `path "a" { capabilities = ["read"] }`}); err != nil {
		t.Fatal(err)
	}
	made := h.make(h.root, CreateRequest{Policies: []string{"p"}})
	if _, _, err := h.Renew(t.Context(), h.mustIdentify(made.Text), 0); err != nil {
		t.Fatal(err)
	}
	if err := h.Revoke(t.Context(), made.Text); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := r.WritePrometheus(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"vault_token_create_count 1", "vault_token_store_count 1", "vault_token_creation 1", "vault_expire_register_count 1",
		"vault_expire_renew_count 1",
		"vault_token_revoke_tree_count 1", "vault_token_revoke_count 1", "vault_policy_set_policy_count 1",
	} {
		if !strings.Contains(b.String(), want+"\n") {
			t.Errorf("%s is not in\n%s", want, b.String())
		}
	}
}
