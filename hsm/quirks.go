package hsm

import (
	"strings"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// quirk is a vendor's deviation from the standard that this package acts on.
type quirk struct {
	vendor string // prefix of the manufacturer, in lower case
	// restartOnly: after an outage of the device only C_Finalize and C_Initialize help, so the
	// levels between are skipped.
	restartOnly bool
	// ownIV: the token generates the GCM IV and writes it over the caller's, which must be all
	// zero.
	ownIV bool
}

// quirks is the only vendor table. Other deviations need no entry, because every token gets the
// same treatment: the caller sizes output buffers (NSS), an IV or a trailer that the token adds to
// a GCM ciphertext is stored with it (Luna in FIPS mode), attributes are read one by one, and a
// round trip distinguishes a wrong tag from a failed device.
var quirks = []quirk{
	{vendor: "softhsm", restartOnly: true},
	{vendor: "cavium", ownIV: true},  // AWS CloudHSM, client 3
	{vendor: "marvell", ownIV: true}, // Cavium's later name
	{vendor: "amazon", ownIV: true},  // AWS CloudHSM, client 5
	{vendor: "aws", ownIV: true},     // the same client
}

// quirkOf returns the token's entry, or the zero one.
func quirkOf(s ck.Slot) quirk {
	name := strings.ToLower(s.Manufacturer)
	for _, q := range quirks {
		if strings.HasPrefix(name, q.vendor) {
			return q
		}
	}
	return quirk{}
}
