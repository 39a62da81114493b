package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/seals/pkcs11"
)

// sealKeysReply is the part of sys/seals that is about keys.
type sealKeysReply struct {
	Data struct {
		Members []struct {
			Name      string
			KeyID     string `json:"key_id"`
			OtherKeys []struct {
				KeyID     string `json:"key_id"`
				State     string
				Snapshots int
			} `json:"other_keys"`
		}
	}
}

// keyChange is the answer to a rotation or a retirement of a seal's key.
type keyChange struct {
	Data struct {
		Done     bool
		Waiting  []string
		Warnings []string
	}
}

// sealKeys reads the keys of the only seal.
func (w *scenarioRun) sealKeys() (reply sealKeysReply, err error) {
	err = w.do(200, "GET", "sys/seals", nil, &reply)
	if err == nil && len(reply.Data.Members) != 1 {
		err = fmt.Errorf("seals: %+v", reply.Data)
	}
	return reply, err
}

// rotateSealKey replaces the key of the HSM seal by a new one, and that by the first again, which
// other runs on the same token need; the key in between is destroyed by a quorum's order.
func rotateSealKey(w *scenarioRun) error {
	before, err := w.sealKeys()
	if err != nil {
		return err
	}
	_, first := pkcs11.URIParts(before.Data.Members[0].KeyID)
	for _, id := range []string{"", first} {
		var c keyChange
		if err := w.do(200, "PUT", "sys/seals/rotate-key", map[string]string{"name": "hsm", "key_id": id}, &c); err != nil {
			return err
		}
		if !c.Data.Done {
			return fmt.Errorf("the rotation to %q: %+v", id, c.Data)
		}
	}
	after, err := w.sealKeys()
	if err != nil {
		return err
	}
	if m := after.Data.Members[0]; m.KeyID != before.Data.Members[0].KeyID || len(m.OtherKeys) != 1 {
		return fmt.Errorf("after the rotations: %+v", after.Data)
	}
	destroy := map[string]any{"name": "hsm", "destroy": true}
	if err := w.do(403, "PUT", "sys/seals/retire", destroy, nil); err != nil {
		return err
	}
	var st struct{ Nonce string }
	if err := w.do(200, "PUT", "sys/authorize/seals/attempt", map[string]string{"change": "retire hsm"}, &st); err != nil {
		return err
	}
	if err := w.giveThree("sys/authorize/seals/update", st.Nonce); err != nil {
		return err
	}
	return w.do(200, "PUT", "sys/seals/retire", destroy, nil)
}

// judgeKeyRotation: the server unseals, and the same commands continue what was begun.
func judgeKeyRotation(t *testing.T, w *scenarioRun) {
	t.Helper()
	if err := w.harness.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	keys, err := w.sealKeys()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys.Data.Members[0].OtherKeys {
		switch k.State {
		case "next":
			var c keyChange
			err = errors.Join(err, w.do(200, "PUT", "sys/seals/rotate-key", map[string]string{"name": "hsm"}, &c))
			if !c.Data.Done {
				t.Errorf("the rotation does not continue: %+v", c.Data)
			}
		case "to be destroyed":
			err = errors.Join(err, w.do(200, "PUT", "sys/seals/retire", map[string]any{"name": "hsm", "destroy": true}, nil))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	keys, err = w.sealKeys()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys.Data.Members[0].OtherKeys {
		if k.State != "old" {
			t.Errorf("left behind: %+v", k)
		}
	}
	w.judge(t, scenario{})
}

// killedAndBack kills the server and waits until its seal has unsealed it again.
func (w *scenarioRun) killedAndBack(t *testing.T) {
	t.Helper()
	if err := w.harness.Kill(); err != nil {
		t.Fatal(err)
	}
	w.harness.mustStart()
	if err := w.harness.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
}

// TestSealKeyRotation replaces the key of an HSM seal while a snapshot needs the old one: restarts
// unseal by either, the old key is destroyed only by a quorum's order, and the warnings name the
// snapshot.
func TestSealKeyRotation(t *testing.T) {
	t.Parallel()
	r := newHSMHarness(t, "")
	r.mustStart()
	w := &scenarioRun{harness: r}
	if err := w.init(); err != nil {
		t.Fatal(err)
	}
	w.unseal(t, nil)
	if reply := r.must(200, "GET", "sys/storage/raft/snapshot", nil); len(reply.Body) == 0 {
		t.Fatal("no snapshot")
	}
	before, err := w.sealKeys()
	if err != nil {
		t.Fatal(err)
	}
	var c keyChange
	r.decode(r.must(200, "PUT", "sys/seals/rotate-key", map[string]string{"name": "hsm"}), &c)
	text := strings.Join(c.Data.Warnings, " ")
	if !c.Data.Done || !strings.Contains(text, "snapshots from before need the key pkcs11:") {
		t.Fatalf("%+v", c.Data)
	}
	after, err := w.sealKeys()
	if err != nil {
		t.Fatal(err)
	}
	was, is := before.Data.Members[0], after.Data.Members[0]
	if was.KeyID == is.KeyID || len(is.OtherKeys) != 1 || is.OtherKeys[0].KeyID != was.KeyID ||
		is.OtherKeys[0].Snapshots != 1 {
		t.Fatalf("before %+v, after %+v", was, is)
	}
	w.killedAndBack(t)
	r.must(204, "PUT", "sys/rotate/root", nil) // the new key wraps it
	w.killedAndBack(t)
	again, err := w.sealKeys()
	if err != nil || again.Data.Members[0].KeyID != is.KeyID {
		t.Fatalf("%+v, %v", again.Data, err)
	}
	r.decode(r.must(200, "PUT", "sys/seals/retire", map[string]string{"name": "hsm"}), &c)
	if text = strings.Join(c.Data.Warnings, " "); !strings.Contains(text, "1 snapshots, the last one taken at") ||
		!strings.Contains(text, "still where it was") {
		t.Errorf("%+v", c.Data)
	}
	r.must(400, "PUT", "sys/seals/retire", map[string]string{"name": "hsm"})
	w.transcriptIsWhole(t)
}
