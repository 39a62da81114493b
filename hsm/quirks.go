package hsm

import (
	"strings"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// quirk is how a vendor's token differs from what the standard says, as far as this package acts on it.
type quirk struct {
	vendor string // a manufacturer that starts so, in any case
	// restartOnly: after the device was away only C_Finalize and C_Initialize help; the rungs between are a waste of time.
	restartOnly bool
	// ownIV: the token chooses the GCM vector and writes it over ours, which must be all zero.
	ownIV bool
}

// quirks is the one table. What other tokens do differently needs no entry, since it
// is met for all: output buffers are sized by us (NSS), a vector or a trailer that the
// token adds to a GCM ciphertext is kept with it (Luna in FIPS mode), attributes are read one by
// one, and a failed tag by any return value is told from a failed device by trying the key.
var quirks = []quirk{
	{vendor: "softhsm", restartOnly: true},
	{vendor: "cavium", ownIV: true},  // AWS CloudHSM, client 3
	{vendor: "marvell", ownIV: true}, // the same cards, later name
	{vendor: "amazon", ownIV: true},  // AWS CloudHSM, client 5
	{vendor: "aws", ownIV: true},     // the same
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
