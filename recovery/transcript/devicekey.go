package transcript

// PurposeDeviceKey is the purpose of a record by which the key in an HSM or KMS that co-signs the
// transcript is chosen, replaced or removed. Fingerprints has the one of the new key, "SHA256:..."
// as SSH prints it; it is empty where no key co-signs from then on.
const PurposeDeviceKey = "transcript-signer"

// DeviceKey is a change of the key in a device that co-signs. The key co-signs this record and all
// that follow, up to and with the next change.
type DeviceKey struct {
	Record      uint64
	Fingerprint string // "": none
}

// DeviceKey returns the change that a record with a number makes; ok is false for other records.
func (r *Record) DeviceKey(seq uint64) (key DeviceKey, ok bool) {
	if r.Purpose != PurposeDeviceKey || r.Outcome != Completed {
		return DeviceKey{}, false
	}
	key.Record = seq
	if len(r.Fingerprints) > 0 {
		key.Fingerprint = r.Fingerprints[0]
	}
	return key, true
}
