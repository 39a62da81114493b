//go:build drill

package browser

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"
	"time"
)

// TestNewUser is the part of .ci/drill that happens in browsers.
func TestNewUser(t *testing.T) {
	base, alerts := os.Getenv("SEALGATE_DRILL"), os.Getenv("SEALGATE_DRILL_ALERTS")
	if base == "" {
		t.Fatal(".ci/drill starts this test")
	}
	raw, err := os.ReadFile(os.Getenv("SEALGATE_DRILL_INIT"))
	if err != nil {
		t.Fatal(err)
	}
	var made struct {
		Shares []string `json:"recovery_keys_b64"`
		Root   string   `json:"root_token"`
	}
	if err := json.Unmarshal(raw, &made); err != nil || len(made.Shares) != 3 {
		t.Fatalf("the initialisation gave %d shares, %v", len(made.Shares), err)
	}
	browser := newBrowser(t)
	operator := newVisitor(t, browser, base)
	operator.login(made.Root)
	operator.open("/ui/ceremonies")
	operator.submit("form[action='/ui/do/ceremonies/recovery']", map[string]string{
		"secret_shares": "3", "secret_threshold": "2", "holders": "alice\nbob\ncarol"})
	operator.sees("The ceremony has begun.")
	operator.screenshot("drill-1-started")

	give, verify := "form[action='/ui/ceremony/recovery/share']", "form[action='/ui/ceremony/recovery/verify']"
	alice, bob, carol := newVisitor(t, browser, base), newVisitor(t, browser, base), newVisitor(t, browser, base)
	alice.open("/ui/ceremony/recovery")
	alice.submit(give, map[string]string{"share": made.Shares[0]})
	alice.sees("Receipt: your share was accepted")
	alice.screenshot("drill-2-receipt")
	bob.open("/ui/ceremony/recovery")
	bob.submit(give, map[string]string{"share": made.Shares[1]})
	bob.sees("the new shares are below")
	shares := bob.texts("pre.share-out")
	carol.open("/ui/ceremony/recovery")
	carol.submit(verify, map[string]string{"share": shares[2]})
	carol.sees("your new share is right")
	carol.submit(verify, map[string]string{"share": shares[0]})
	carol.sees("the new shares are in force now")
	carol.screenshot("drill-3-verified")

	operator.open("/ui/keys")
	operator.submit("form[action='/ui/do/keys/rotate']", nil)
	operator.sees("Term 2")
	operator.submit("form[action='/ui/do/keys/rewrap']", nil)
	operator.sees("Rewrap of the data: done")
	operator.screenshot("drill-4-rewrapped")
	operator.open("/ui/")
	operator.screenshot("drill-5-status")
	operator.open("/ui/seals")
	operator.submit("form[action='/ui/do/seals/seal']", map[string]string{"confirm": "seal"})

	for end := time.Now().Add(2 * time.Minute); !firing(t, alerts, "SealgateSealed"); time.Sleep(time.Second) {
		if time.Now().After(end) {
			t.Fatal("Prometheus does not fire SealgateSealed")
		}
	}
	watcher := newVisitor(t, browser, alerts)
	watcher.open("/api/v1/alerts") // Debian's package has no pages
	watcher.sees("SealgateSealed")
	watcher.screenshot("drill-6-alert")
}

// firing reports whether an alert of Prometheus fires.
func firing(t *testing.T, base, name string) bool {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second}
	a, err := client.Get(base + "/api/v1/alerts")
	if err != nil {
		return false // it has just started
	}
	defer a.Body.Close()
	var out struct {
		Data struct {
			Alerts []struct {
				State  string
				Labels map[string]string
			}
		}
	}
	if err := json.NewDecoder(a.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	for _, one := range out.Data.Alerts {
		if one.Labels["alertname"] == name && one.State == "firing" {
			return true
		}
	}
	return false
}
