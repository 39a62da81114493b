package api

import "testing"

// TestCarriesShares pins the paths, in every spelling that reaches their handlers.
func TestCarriesShares(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"sys/init", "sys/unseal", "sys/unseal/", "sys/rekey/update", "sys/rekey-recovery-key/verify",
		"sys/rotate/recovery/update", "sys/generate-root/update", "sys/generate-recovery-token/update", "sys/recovery/prove",
		"sys/break-glass", "sys/break-glass/enroll/update",
	} {
		if !carriesShares("PUT", "/v1/"+path) || carriesShares("GET", "/v1/"+path) {
			t.Errorf("%s: %t, %t", path, carriesShares("PUT", "/v1/"+path), carriesShares("GET", "/v1/"+path))
		}
	}
	for _, path := range []string{"sys/mounts", "secret/data/sys/unseal", "auth/token/create"} {
		if carriesShares("PUT", "/v1/"+path) {
			t.Error(path)
		}
	}
}
