package transcript

import (
	"bytes"
	"slices"
	"testing"
)

// TestDeviceKeys: the report has each change of the key that co-signs, and none that was altered.
func TestDeviceKeys(t *testing.T) {
	t.Parallel()
	change := func(print string) Record {
		r := Record{Cluster: "c1", Purpose: PurposeDeviceKey, Started: start, Finished: start, Outcome: Completed}
		if print != "" {
			r.Fingerprints = []string{print}
		}
		return r
	}
	list := records()
	list = append(list, change("SHA256:one"), list[2], change("SHA256:two"), change(""))
	failed := change("SHA256:three")
	failed.Outcome = Failed
	list = append(list, failed)
	signed, head := chain(t, key, Head{}, list)
	raw := export(t, signed)
	r, err := VerifyFile(bytes.NewReader(raw), public, &head)
	if err != nil || !r.OK() {
		t.Fatal(err, r)
	}
	want := []DeviceKey{{5, "SHA256:one"}, {7, "SHA256:two"}, {8, ""}}
	if !slices.Equal(r.DeviceKeys, want) {
		t.Errorf("the keys are %v, not %v", r.DeviceKeys, want)
	}
	altered := bytes.Replace(raw, []byte("SHA256:two"), []byte("SHA256:bad"), 1)
	if r, err = VerifyFile(bytes.NewReader(altered), public, nil); err != nil || r.OK() {
		t.Fatal(err, r)
	}
	if !slices.Equal(r.DeviceKeys, []DeviceKey{want[0], want[2]}) {
		t.Errorf("with an altered record the keys are %v", r.DeviceKeys)
	}
}
