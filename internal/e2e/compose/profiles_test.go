//go:build compose

package compose

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestGatewayProfile: an OpenBao unseals through the server on SoftHSM, also after both were
// killed; the KMS v2 socket keeps its contract; the proxy for AWS KMS asks for a signature; and
// Prometheus scrapes and has the alerts. Grafana is not started: its image is a download that no
// other test needs.
func TestGatewayProfile(t *testing.T) {
	tr := newTrial(t)
	profiles := []string{"--profile", "gateway", "--profile", "observability", "--profile", "operator"}
	t.Cleanup(func() {
		if _, err := tr.try(5*time.Minute, append(profiles, "down", "-v", "-t", "5")...); err != nil {
			t.Error(err)
		}
	})
	up := append(profiles, "up", "-d", "--build", "softhsm-token", "softhsm", "softhsm-init", "gateway-setup", "openbao",
		"openbao-init", "kms-plugin", "kms-check", "prometheus")
	if _, err := tr.try(60*time.Minute, up...); err != nil {
		t.Fatal(err)
	}
	upstream := &server{tr: tr, name: "softhsm", service: "softhsm", at: tr.ports["SOFTHSM"]}
	downstream := &server{tr: tr, name: "openbao", service: "openbao", at: tr.ports["OPENBAO"]}
	upstream.until(patience, "unsealed", upstream.health(200))
	downstream.until(patience, "unsealed through the gateway", downstream.health(200))
	tr.kill("openbao", "softhsm")
	downstream.until(time.Minute, "gone", downstream.silent)
	tr.run("start", "softhsm", "openbao")
	downstream.until(patience, "unsealed again after kill -9 of both", downstream.health(200))

	upstream.until(patience, "serving a KMS v2 socket that keeps its contract", func() bool {
		out, err := tr.try(time.Minute, "logs", "kms-check")
		return err == nil && strings.Contains(out, "the same key_id")
	})
	url := "http://127.0.0.1:" + tr.ports["SOFTHSM"] + "/trial-store/kms/xks/v1/keys/aws/metadata"
	a, err := client.Post(url, "application/json", strings.NewReader(`{"requestMetadata":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	var refusal struct{ ErrorName string }
	err = json.NewDecoder(a.Body).Decode(&refusal)
	if err != nil || refusal.ErrorName != "AuthenticationFailedException" {
		t.Errorf("the proxy answers an unsigned request with %d %q, %v", a.StatusCode, refusal.ErrorName, err)
	}
	upstream.until(patience, "scraped by Prometheus, with alerts", func() bool { return tr.scraped() })
}

// scraped reports whether Prometheus has the server's metrics, and the rules.
func (tr *trial) scraped() bool {
	var up struct {
		Data struct {
			Result []struct{ Value []any }
		}
	}
	var rules struct {
		Data struct {
			Groups []struct{ Name string }
		}
	}
	return tr.prometheus("query?query=vault_core_unsealed", &up) && len(up.Data.Result) == 1 &&
		len(up.Data.Result[0].Value) == 2 && up.Data.Result[0].Value[1] == "1" &&
		tr.prometheus("rules", &rules) && len(rules.Data.Groups) > 0
}

func (tr *trial) prometheus(path string, into any) bool {
	a, err := client.Get("http://127.0.0.1:" + tr.ports["PROMETHEUS"] + "/api/v1/" + path)
	if err != nil {
		return false
	}
	defer a.Body.Close()
	return a.StatusCode == http.StatusOK && json.NewDecoder(a.Body).Decode(into) == nil
}
