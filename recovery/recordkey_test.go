package recovery

import (
	"bytes"
	"testing"
)

// TestRecordKeyStaysBehindTheBarrier: the record of an unseal share set keeps its secret keys, and
// its public copy has none of them. A rekey keeps the key of the share set that it replaces.
func TestRecordKeyStaysBehindTheBarrier(t *testing.T) {
	t.Parallel()
	first, shares, err := NewShareSet(Barrier, nil, 3, 2, nil, clock)
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := NewShareSet(Barrier, first, 3, 2, nil, clock)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := Combine(shares[:2])
	if err != nil {
		t.Fatal(err)
	}
	if want, err := RecordKey(seed); err != nil || !first.RecordKey.Equal(want) || !second.PreviousKey.Equal(want) {
		t.Errorf("another key than that of the shares: %v", err)
	}
	got, err := UnmarshalShareSet(second.Marshal())
	if err != nil || !got.RecordKey.Equal(second.RecordKey) || !got.PreviousKey.Equal(first.RecordKey) {
		t.Errorf("%+v, %v", got, err)
	}
	public := second.Public().Marshal()
	for _, key := range []*Secret{second.RecordKey, second.PreviousKey} {
		if bytes.Contains(public, key.Expose()) {
			t.Error("the public record contains a secret key")
		}
	}
	if got, err := UnmarshalShareSet(public); err != nil || got.RecordKey != nil || public[0] != shareSetVersion {
		t.Errorf("%+v, %v", got, err)
	}
	old, err := PrivateKey(seed)
	if err != nil || bytes.Equal(old.PublicKey().Bytes(), first.PublicKey) {
		t.Errorf("the key of unseal shares is the one of old share sets: %v", err)
	}
	for cut := range second.Marshal() {
		if _, err := UnmarshalShareSet(second.Marshal()[:cut]); err == nil {
			t.Errorf("accepted %d bytes", cut)
		}
	}
}
