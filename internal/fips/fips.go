// Package fips is the switch fips = "required" of the configuration: this process uses only what
// FIPS 140-3 approves, and refuses the rest by name before it computes anything.
//
// It guarantees that [Require] succeeds only where Go's FIPS 140-3 module is on and is one of the
// frozen versions that are submitted for validation; and that after it [Refuse] returns an error
// for everything that a package asks about. It does not make a product validated: say "uses the Go
// Cryptographic Module, version X". Code outside that module is not covered by its certificate,
// whether it asks here or not.
//
// # Judgement
//
//	AES-256-GCM of the barrier  approved; the count of each key is bounded (2^32)
//	RSA-OAEP, PSS, ECDSA, HMAC  approved with SHA-2 and at least 2048 bits; OAEP with SHA-1 is
//	                            refused
//	tokens, transcript, record  SHA-256, HMAC and HKDF: approved
//	shares                      Shamir's scheme is no approved algorithm and protects no data: the
//	                            shares combine to an HPKE key. A laboratory may see it as split
//	                            knowledge, or as a plaintext key component
//	HPKE MLKEM768-X25519        the module approves ML-KEM-768, and a hybrid whose one part is
//	                            approved may be used where the other part is treated as data that
//	                            is not secret (SP 800-56C Rev. 2, SP 800-227). The combiner of this
//	                            KEM is the draft's own (X-Wing's), SHA3-256 over both secrets:
//	                            whether a laboratory accepts it is open. It is not refused, because
//	                            every store with custodians depends on it; who cannot accept it
//	                            uses an HSM or KMS alone, and recovery shares without break-glass
//	age recipients              refused: X25519, ChaCha20-Poly1305
//	PGP recipients              keys on Curve25519 or 448 are refused; RSA and NIST curves are
//	                            taken. OpenPGP's container (CFB, a SHA-1 checksum) is not approved:
//	                            treat the message as transport of a share, not as its protection
//	bcrypt                      refused; passwords are kept by PBKDF2 with HMAC-SHA-256
//	transit                     ChaCha20 is refused; ML-DSA and CMAC are approved algorithms that
//	                            this program implements outside the module, and are refused too
//	TLS                         the module allows AES-GCM and NIST curves or their hybrids alone
//	PKCS #11, KMIP, KMS, TPM    outside the module: the device has its own certificate
package fips

import (
	"crypto/fips140"
	"fmt"
	"sync/atomic"

	"github.com/sealgate/sealgate/internal/fault"
)

// required is a property of the process, as the module's own mode is.
var required atomic.Bool

// unvalidated is the version of a build with the toolchain's own code.
const unvalidated = "latest"

// Require switches to approved algorithms alone. It fails where this program is not able to.
func Require() error {
	if err := able(fips140.Enabled(), fips140.Version()); err != nil {
		return err
	}
	required.Store(true)
	return nil
}

func able(enabled bool, version string) error {
	switch {
	case version == unvalidated:
		return fmt.Errorf("fips = \"required\": this program was built without a frozen FIPS 140-3 module: use the one " +
			"that `make build-fips` makes")
	case !enabled:
		return fmt.Errorf("fips = \"required\": the FIPS 140-3 module %s is off: start without GODEBUG=fips140=off", version)
	}
	return nil
}

// Required reports whether [Require] succeeded.
func Required() bool { return required.Load() }

// Mode names the mode of this process: "off", "on, module v1.0.0", "required, module v1.0.0".
func Mode() string {
	switch {
	case Required():
		return "required, module " + fips140.Version()
	case fips140.Enabled():
		return "on, module " + fips140.Version()
	}
	return "off"
}

// Refuse returns an error where approved algorithms are required. what names the one that is not,
// instead what to use.
func Refuse(what, instead string) error {
	if !Required() {
		return nil
	}
	return fault.New(fault.Invalid, "%s is not approved by FIPS 140-3, which fips = \"required\" in the configuration "+
		"demands: use %s", what, instead)
}

// Simulate is for tests: it requires approved algorithms in a program that cannot guarantee them,
// until the function that it returns is called.
func Simulate() (end func()) {
	required.Store(true)
	return func() { required.Store(false) }
}
