package gcpckms_test

import (
	"testing"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/internal/testkit/gcpkms"
	"github.com/sealgate/sealgate/seals/sealtest"
)

func TestConforms(t *testing.T) {
	for _, level := range []string{"software", "hsm"} {
		t.Run(level, func(t *testing.T) {
			sealtest.Run(t, sealtest.Harness{New: func(t *testing.T) *sealtest.Fixture {
				return fixture(t, newHarness(t, gcpkms.Options{}), level)
			}})
		})
	}
}

func fixture(t *testing.T, r *harness, level string) *sealtest.Fixture {
	key := "root"
	if level == "hsm" {
		key = "hardware"
		r.act("create-hsm", key)
	}
	w := r.open("crypto_key", key)
	during := func(f gcpkms.Fault) func() func() {
		return func() func() { r.inject(f); return r.kms.Clear }
	}
	return &sealtest.Fixture{
		Wrapper: w, Other: r.open("crypto_key", "other"), Again: func() wrapping.Wrapper {
			return r.open("crypto_key",
				key)
		},
		Unresponsive: during(gcpkms.Fault{Unresponsive: true}),
		Away:         func() func() { r.server.Away(); return func() { must(t, r.server.Back()) } },
		Throttle: during(gcpkms.Fault{Code: "RESOURCE_EXHAUSTED",
			Message: "Quota exceeded for quota metric 'Cryptographic requests'."}),
		Garble:   during(gcpkms.Fault{Corrupt: true}),
		Disable:  func() { r.act("disable", key) },
		Enable:   func() { r.act("enable", key) },
		Schedule: func() { r.act("schedule", key) },
		// What is restored is disabled.
		Unschedule: func() { r.act("restore", key); r.act("enable", key) },
		Destroy:    func() { r.act("destroy", key) },
		Rotate:     func() { r.act("rotate", key) },
		Deny: func() func() {
			r.grant(0, "cloudkms.viewer")
			return func() { r.grant(0, "cloudkms.cryptoKeyEncrypterDecrypter", "cloudkms.viewer") }
		},
		Calls:  r.calls,
		Expire: func() { r.grant(1, "cloudkms.cryptoKeyEncrypterDecrypter") },
		Renew:  func() { r.renew(1, "cloudkms.cryptoKeyEncrypterDecrypter") },
	}
}
