package v1

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// TestTransitAudit: the audit trail has every request of transit, and shows no plaintext,
// ciphertext, signature or key.
func TestTransitAudit(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	log := w.audited("")
	w.expect("mount", w.do("POST", "sys/mounts/transit", `{"type":"transit"}`), 204, "")
	var shown []string
	values := regexp.MustCompile(`"(?:ciphertext|plaintext|signature|hmac|backup|random_bytes|1)":"([^"]{20,})"`)
	for _, request := range [][3]string{
		{"POST", "keys/k", `{"exportable":true,"allow_plaintext_backup":true}`},
		{"POST", "keys/s", `{"type":"ed25519"}`},
		{"POST", "encrypt/k", `{"plaintext":"c2VjcmV0IG9mIHRoZSB0ZXN0"}`},
		{"POST", "encrypt/k", `{"batch_input":[{"plaintext":"c2VjcmV0IG9mIHRoZSB0ZXN0"},{"plaintext":"!"}]}`},
		{"POST", "datakey/plaintext/k", ""},
		{"POST", "sign/s", `{"input":"c2VjcmV0IG9mIHRoZSB0ZXN0"}`},
		{"POST", "hmac/k", `{"input":"c2VjcmV0IG9mIHRoZSB0ZXN0"}`},
		{"POST", "random/32", ""},
		{"GET", "export/encryption-key/k", ""},
		{"GET", "backup/k", ""},
	} {
		a := w.do(request[0], "transit/"+request[1], request[2])
		if a.Code != 200 && !strings.Contains(request[2], `"!"`) {
			t.Fatalf("%s: %d %s", request[1], a.Code, a.Body)
		}
		for _, m := range values.FindAllStringSubmatch(a.Body.String(), -1) {
			shown = append(shown, m[1])
		}
		if !strings.Contains(w.trail(log), `"path":"transit/`+request[1]+`"`) {
			t.Errorf("%s is not in the trail", request[1])
		}
	}
	if len(shown) < 9 {
		t.Fatalf("%d values were found in the answers", len(shown))
	}
	trail := w.trail(log)
	for _, secret := range append(shown, "c2VjcmV0IG9mIHRoZSB0ZXN0") {
		if strings.Contains(trail, secret) {
			t.Errorf("the trail shows %s", secret)
		}
	}
}

// TestTransitInClusters: a rotation is seen by every node at once, ciphertexts of one are opened by
// all, and the leader may change between two requests.
func TestTransitInClusters(t *testing.T) {
	t.Parallel()
	f := federate(t, 3)
	leader, standbys := f.settled()
	leader.answer("POST", "sys/mounts/transit", `{"type":"transit"}`)
	leader.answer("POST", "transit/keys/k", "")
	var ciphertexts []string
	for version := 1; version <= 6; version++ {
		for _, n := range append(standbys, leader) {
			if got := n.answer("GET", "transit/keys/k", "")["data"].(map[string]any)["latest_version"]; got != float64(version) {
				t.Errorf("%s shows version %v; want %d", n.name, got, version)
			}
			c := n.answer("POST", "transit/encrypt/k", `{"plaintext":"aGVsbG8="}`)["data"].(map[string]any)["ciphertext"]
			if want := fmt.Sprintf("vault:v%d:", version); !strings.HasPrefix(fmt.Sprint(c), want) {
				t.Errorf("%s encrypts to %v; want %s", n.name, c, want)
			}
			ciphertexts = append(ciphertexts, fmt.Sprint(c))
		}
		if version == 3 {
			leader.answer("POST", "sys/step-down", "")
			leader, standbys = f.settled()
		}
		standbys[version%2].answer("POST", "transit/keys/k/rotate", "")
	}
	for i, c := range ciphertexts {
		n := append(standbys, leader)[i%3]
		got := n.answer("POST", "transit/decrypt/k", `{"ciphertext":"`+c+`"}`)["data"].(map[string]any)["plaintext"]
		if got != "aGVsbG8=" {
			t.Errorf("%s decrypts %s to %v", n.name, c, got)
		}
	}
}
