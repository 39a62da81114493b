package e2e

import (
	"path/filepath"
	"testing"

	"github.com/sealgate/sealgate/internal/testkit/kubeapi"
)

// TestHVACData drives a server by hvac, Python's client, unmodified, over TLS: secrets, policies,
// tokens, logins, audit, wrapping.
func TestHVACData(t *testing.T) {
	t.Parallel()
	python := pinnedPython(t, hvacDir)
	r := newStaticHarness(t)
	a, _ := r.useTLS(t, "")
	r.startTLS(a)
	k := kubeapi.Start(t)
	k.Put(kubeapi.Account{Namespace: "prod", Name: "app", UID: "u1"})
	k.Put(kubeapi.Account{Namespace: "prod", Name: "reviewer", UID: "u2", Reviews: true})
	order := map[string]any{"kubernetes": map[string]string{"host": k.URL, "ca": k.CA,
		"reviewer": k.Token("prod", "reviewer", nil), "jwt": k.Token("prod", "app", nil)}}
	for name, v := range r.order() {
		order[name] = v
	}
	r.drive([]string{"PYTHONDONTWRITEBYTECODE=1"}, order, python, filepath.Join(clientsDir, "hvac", "data.py"))
}
