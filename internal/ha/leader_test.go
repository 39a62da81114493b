package ha

import (
	"encoding/json"
	"reflect"
	"testing"
)

// FuzzLeaderRecord checks that what is read is written as the same record.
func FuzzLeaderRecord(f *testing.F) {
	f.Add([]byte(`{"v":1,"id":"n","epoch":3,"ca_cert":"AA==","ca_key":"AA=="}`))
	f.Add([]byte(`{"v":2}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := unmarshalLeader(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := unmarshalLeader(again); err != nil || !reflect.DeepEqual(s.Member, r.Member) || s.Epoch != r.Epoch {
			t.Errorf("%+v became %+v, %v", r, s, err)
		}
	})
}
