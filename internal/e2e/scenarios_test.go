package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
)

type scenarioRun struct {
	harness    *harness
	custodians bool           // the shares unseal
	target     string         // whose shares are rekeyed: "rekey" (barrier) or "rekey-recovery-key"
	old        []string       // the shares before the scenario
	fresh      []string       // the shares that the scenario was given
	nonce      string         // of the rekey
	last       string         // the share given last
	vnonce     string         // of the verification
	otp        string         // of generate-root
	body       map[string]any // of the rekey, beside shares and threshold
}

type scenario struct {
	name       string
	custodians bool
	fresh      bool // begins before the initialisation
	run        func(w *scenarioRun) error
	setup      func(w *scenarioRun) error         // what precedes it, while the server is unsealed; nil: nothing
	lost       bool                               // the HSM has lost its key, and break-glass is allowed
	shares     bool                               // it makes new shares
	judge      func(t *testing.T, w *scenarioRun) // what is left after a crash; nil: the usual
}

var errDead = errors.New("the server died")

func (w *scenarioRun) do(want int, method, path string, body, out any) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := w.harness.Do(ctx, method, path, w.harness.root, body)
	if err != nil {
		return fmt.Errorf("%w: %v", errDead, err)
	}
	if r.Code != want {
		return fmt.Errorf("%s %s: status %d: %s", method, path, r.Code, r.Body)
	}
	if out == nil {
		return nil
	}
	return r.Decode(out)
}

func (w *scenarioRun) init() error {
	body := map[string]int{"recovery_shares": 5, "recovery_threshold": 3}
	if w.custodians {
		body = map[string]int{"secret_shares": 5, "secret_threshold": 3}
	}
	var out initReply
	if err := w.do(200, "PUT", "sys/init", body, &out); err != nil {
		return err
	}
	w.harness.root, w.old = out.RootToken, slices.Concat(out.Keys, out.RecoveryKeys)
	return nil
}

func (w *scenarioRun) rekey() error {
	var st struct{ Nonce string }
	body := map[string]any{"secret_shares": 4, "secret_threshold": 2}
	maps.Copy(body, w.body)
	if err := w.do(200, "PUT", "sys/"+w.target+"/init", body, &st); err != nil {
		return err
	}
	w.nonce = st.Nonce
	for _, share := range w.old[:3] {
		if err := w.give(share); err != nil {
			return err
		}
	}
	return nil
}

func (w *scenarioRun) give(share string) error {
	w.last = share
	out, err := w.update(share)
	if err == nil && out.Complete && len(out.Keys) > 0 {
		w.fresh, w.vnonce = out.Keys, out.VerificationNonce
	}
	return err
}

type updated struct {
	Complete          bool
	Keys              []string `json:"keys_base64"`
	VerificationNonce string   `json:"verification_nonce"`
}

func (w *scenarioRun) update(share string) (out updated, err error) {
	err = w.do(200, "PUT", "sys/"+w.target+"/update", map[string]string{"key": share, "nonce": w.nonce}, &out)
	return out, err
}

func (w *scenarioRun) verify() error {
	var st struct{ Nonce string }
	if err := w.proof(w.fresh[3]); err != nil {
		return err
	}
	if err := w.do(200, "DELETE", "sys/"+w.target+"/verify", nil, &st); err != nil {
		return err
	}
	w.vnonce = st.Nonce
	if err := w.proof(w.fresh[0]); err != nil {
		return err
	}
	return w.proof(w.fresh[2])
}

func (w *scenarioRun) proof(share string) error {
	return w.do(200, "PUT", "sys/"+w.target+"/verify", map[string]string{"key": share, "nonce": w.vnonce}, nil)
}

func withVerification(target string) func(w *scenarioRun) error {
	return func(w *scenarioRun) error {
		w.target, w.body = target, map[string]any{"require_verification": true, "holders": []string{"a", "b", "c", "d"}}
		if err := w.rekey(); err != nil {
			return err
		}
		return w.verify()
	}
}

func toRecipients(w *scenarioRun) error {
	w.target = "rekey-recovery-key"
	var keys []string
	for _, id := range identities {
		keys = append(keys, id.Recipient().String())
	}
	w.body = map[string]any{"pgp_keys": keys, "backup": true}
	if err := w.rekey(); err != nil {
		return err
	}
	if err := w.do(204, "PUT", "sys/"+w.target+"/acknowledge", map[string]string{"key": w.last, "nonce": w.nonce},
		nil); err != nil {
		return err
	}
	return w.do(204, "DELETE", "sys/rekey/recovery-key-backup", nil, nil)
}

var identities = func() (ids []*age.X25519Identity) {
	for range 4 {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			panic(err)
		}
		ids = append(ids, id)
	}
	return ids
}()

func plain(t *testing.T, keys []string) []string {
	t.Helper()
	out := make([]string, len(keys))
	for i, k := range keys {
		message, err := base64.StdEncoding.DecodeString(k)
		if err != nil {
			t.Fatal(err)
		}
		r, err := age.Decrypt(bytes.NewReader(message), identities[i])
		if err != nil {
			return keys // shares that were not encrypted
		}
		share, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = string(share)
	}
	return out
}

func cancelled(w *scenarioRun) error {
	w.target, w.body = "rekey-recovery-key", map[string]any{"require_verification": true}
	if err := w.do(200, "PUT", "sys/recovery/prove", map[string]string{"key": w.old[4]}, nil); err != nil {
		return err
	}
	if err := w.rekey(); err != nil {
		return err
	}
	defer func() { w.fresh, w.last = nil, "" }()
	return w.do(204, "DELETE", "sys/"+w.target+"/init", nil, nil)
}

func generateRoot(w *scenarioRun) error {
	var st struct{ Nonce, OTP string }
	if err := w.do(200, "PUT", "sys/generate-root/attempt", map[string]string{}, &st); err != nil {
		return err
	}
	w.otp = st.OTP
	return w.giveThree("sys/generate-root/update", st.Nonce)
}

// authorizeRestore lets a quorum authorise a restore by force.
func authorizeRestore(w *scenarioRun) error {
	var st struct{ Nonce string }
	if err := w.do(200, "PUT", "sys/authorize/restore/attempt", nil, &st); err != nil {
		return err
	}
	return w.giveThree("sys/authorize/restore/update", st.Nonce)
}

// changeSeals moves the root key from the HSM to another seal: the stanza is added, the seal enters
// the record, and a quorum lets the HSM leave it.
func changeSeals(w *scenarioRun) error {
	if err := w.changeConfig(func(config string) string { return config + staticSeal }); err != nil {
		return err
	}
	var c struct {
		Data struct {
			Done   bool
			Policy string
		}
	}
	if err := w.do(200, "PUT", "sys/seals/add", map[string]string{"name": "box"}, &c); err != nil {
		return err
	}
	if !c.Data.Done || c.Data.Policy != "any of hsm, box" {
		return fmt.Errorf("after the addition: %+v", c.Data)
	}
	if err := w.authorizeSeals("remove hsm"); err != nil {
		return err
	}
	return w.do(200, "PUT", "sys/seals/remove", map[string]string{"name": "hsm"}, nil)
}

// authorizeSeals lets a quorum authorise one change of the seals.
func (w *scenarioRun) authorizeSeals(change string) error {
	var st struct{ Nonce string }
	if err := w.do(200, "PUT", "sys/authorize/seals/attempt", map[string]string{"change": change}, &st); err != nil {
		return err
	}
	return w.giveThree("sys/authorize/seals/update", st.Nonce)
}

// addSeal adds a seal, which a quorum authorises, and expects a policy.
func (w *scenarioRun) addSeal(change string, body map[string]any, policy string) error {
	if err := w.authorizeSeals(change); err != nil {
		return err
	}
	var c drillChange
	if err := w.do(200, "PUT", "sys/seals/add", body, &c); err != nil {
		return err
	}
	if !c.Data.Done || c.Data.Policy != policy {
		return fmt.Errorf("%s: %+v", change, c.Data)
	}
	return nil
}

// configured adds a stanza to the configuration with which the scenario begins.
func configured(stanza string) func(w *scenarioRun) error {
	return func(w *scenarioRun) error {
		return w.changeConfig(func(config string) string { return config + stanza })
	}
}

// replaceSeal puts another seal in the place of the HSM, in one commit.
func replaceSeal(w *scenarioRun) error {
	return w.addSeal("replace hsm with box", map[string]any{"name": "box", "replaces": []string{"hsm"}}, "any of box")
}

const withCustodians = "any of hsm, shamir"

// addCustodians makes the holders of the recovery shares custodians who unseal, beside the HSM.
func addCustodians(w *scenarioRun) error {
	const policy = "any(hsm, shamir)"
	return w.addSeal("add shamir: "+policy, map[string]any{"name": "shamir", "policy": policy}, withCustodians)
}

// judgeCustodians: the HSM unseals, and the shares are unseal shares if they are in the policy.
func judgeCustodians(t *testing.T, w *scenarioRun) {
	t.Helper()
	if err := w.harness.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	var seals drillChange
	w.harness.decode(w.harness.must(200, "GET", "sys/seals", nil), &seals)
	w.custodians = seals.Data.Policy == withCustodians
	w.judge(t, scenario{})
}

// unenrol ends the enrolment for break-glass by a quorum.
func unenrol(w *scenarioRun) error {
	var st struct{ Nonce string }
	if err := w.do(200, "PUT", "sys/break-glass/remove/attempt", nil, &st); err != nil {
		return err
	}
	return w.giveThree("sys/break-glass/remove/update", st.Nonce)
}

// migrateSeals restarts a server that shares unseal with an automatic seal in its configuration,
// and migrates to that.
func migrateSeals(w *scenarioRun) error {
	if err := w.harness.Stop(); err != nil {
		return err
	}
	config, err := os.ReadFile(filepath.Join(w.harness.Dir, "sealgate.hcl"))
	if err == nil {
		err = w.harness.WriteConfig(string(config) + staticSeal)
	}
	if err == nil {
		err = w.harness.Start()
	}
	if err == nil {
		err = w.harness.UntilUp()
	}
	if err != nil {
		return err
	}
	return w.migrate()
}

func (w *scenarioRun) migrate() error {
	for _, share := range w.old[:3] {
		body := map[string]any{"key": share, "migrate": true}
		if err := w.do(200, "PUT", "sys/unseal", body, nil); err != nil {
			return err
		}
	}
	return nil
}

// judgeMigration: the server is migrated and unseals automatically, or the migration is pending and
// the same shares do it; the shares stay valid in either case.
func judgeMigration(t *testing.T, w *scenarioRun) {
	t.Helper()
	var st struct{ Migration bool }
	w.harness.decode(w.harness.must(200, "GET", "sys/seal-status", nil), &st)
	if st.Migration {
		if err := w.migrate(); err != nil {
			t.Fatal(err)
		}
	}
	w.custodians = false
	w.judge(t, scenario{})
	w.harness.move(w.harness.Kill)
	w.harness.mustStart()
	if err := w.harness.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	w.harness.mustGet("after", "the crash")
}

// enrol enrols the quorum of the recovery shares for break-glass.
func enrol(w *scenarioRun) error {
	var st struct{ Nonce string }
	if err := w.do(200, "PUT", "sys/break-glass/enroll/attempt", nil, &st); err != nil {
		return err
	}
	return w.giveThree("sys/break-glass/enroll/update", st.Nonce)
}

// breakGlass unseals with the shares of an enrolled quorum, while the HSM has lost its key.
func breakGlass(w *scenarioRun) error { return w.breaks() }

// changeConfig rewrites the configuration of a server that does not run.
func (w *scenarioRun) changeConfig(change func(string) string) error {
	config, err := os.ReadFile(filepath.Join(w.harness.Dir, "sealgate.hcl"))
	if err != nil {
		return err
	}
	return w.harness.WriteConfig(change(string(config)))
}

// breaks gives three shares for break-glass, once the seal has failed.
func (w *scenarioRun) breaks() error {
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := w.do(200, "PUT", "sys/break-glass", map[string]string{"key": w.old[0]}, nil)
		if err == nil {
			break
		}
		if errors.Is(err, errDead) || !strings.Contains(err.Error(), "have not failed") || time.Now().After(deadline) {
			return err
		}
	}
	for _, share := range w.old[1:3] {
		if err := w.do(200, "PUT", "sys/break-glass", map[string]string{"key": share}, nil); err != nil {
			return err
		}
	}
	return nil
}

// judgeBreakGlass: the same shares unseal the server again as long as the key is lost, and the HSM
// does when it has the key again.
func judgeBreakGlass(t *testing.T, w *scenarioRun) {
	t.Helper()
	if err := w.breaks(); err != nil {
		t.Fatal(err)
	}
	w.harness.mustGet("1", "value 1")
	w.transcriptIsWhole(t)
	w.harness.move(w.harness.Stop)
	if err := w.changeConfig(strings.NewReplacer(`"lost"`, `"root"`).Replace); err != nil {
		t.Fatal(err)
	}
	w.harness.mustStart()
	w.judge(t, scenario{})
}

func (w *scenarioRun) giveThree(path, nonce string) error {
	for _, share := range w.old[:3] {
		if err := w.do(200, "PUT", path, map[string]string{"key": share, "nonce": nonce}, nil); err != nil {
			return err
		}
	}
	return nil
}

var scenarios = []scenario{
	{name: "init", fresh: true, run: func(w *scenarioRun) error { return w.init() }},
	{name: "init-shamir", fresh: true, custodians: true, run: func(w *scenarioRun) error { return w.init() }},
	{name: "rotate", run: func(w *scenarioRun) error { return w.do(204, "PUT", "sys/rotate", nil, nil) }},
	{name: "rotate-root", run: func(w *scenarioRun) error { return w.do(204, "PUT", "sys/rotate/root", nil, nil) }},
	{name: "rekey-recovery", shares: true,
		run: func(w *scenarioRun) error { w.target = "rekey-recovery-key"; return w.rekey() }},
	{name: "rekey-barrier", run: func(w *scenarioRun) error { w.target = "rekey"; return w.rekey() }},
	{name: "rotate-shamir", custodians: true,
		run: func(w *scenarioRun) error { return w.do(204, "PUT", "sys/rotate", nil, nil) }},
	{name: "rotate-root-shamir", custodians: true,
		run: func(w *scenarioRun) error { return w.do(204, "PUT", "sys/rotate/root", nil, nil) }},
	{name: "rekey-recovery-verified", shares: true, run: withVerification("rekey-recovery-key")},
	{name: "rekey-barrier-shamir-verified", custodians: true, shares: true, run: withVerification("rekey")},
	{name: "rekey-recovery-recipients", shares: true, run: toRecipients},
	{name: "rekey-recovery-cancelled", shares: true, run: cancelled},
	{name: "generate-root", run: generateRoot},
	{name: "authorize-restore", run: authorizeRestore},
	{name: "rewrap-seals", run: func(w *scenarioRun) error { return w.do(204, "PUT", "sys/sealwrap/rewrap", nil, nil) }},
	{name: "rewrap-retire", run: rewrapped("retire"), judge: judgeRewrap(1)},
	{name: "compromise", run: rewrapped("compromised"), judge: judgeRewrap(2)},
	{name: "compromise-shamir", custodians: true, run: rewrapped("compromised"), judge: judgeRewrap(2)},
	{name: "change-seals", run: changeSeals},
	{name: "replace-seal", setup: configured(staticSeal), run: replaceSeal},
	{name: "add-custodians", setup: configured("seal \"shamir\" \"shamir\" {\n}\n"), run: addCustodians,
		judge: judgeCustodians},
	{name: "remove-break-glass", setup: enrol, run: unenrol},
	{name: "rotate-seal-key", run: rotateSealKey, judge: judgeKeyRotation},
	{name: "migrate-seals", custodians: true, run: migrateSeals, judge: judgeMigration},
	{name: "break-glass", setup: enrol, lost: true, run: breakGlass, judge: judgeBreakGlass},
	{name: "rekey-recovery-enrolled", shares: true, run: func(w *scenarioRun) error {
		if err := enrol(w); err != nil {
			return err
		}
		w.target = "rekey-recovery-key"
		return w.rekey()
	}},
	{name: "restore", run: restored},
	{name: "restore-shamir", custodians: true, run: restored},
	{name: "rekey-barrier-shamir", custodians: true, shares: true,
		run: func(w *scenarioRun) error { w.target = "rekey"; return w.rekey() }},
}

// restored replaces everything by a snapshot of itself.
func restored(w *scenarioRun) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	archive, err := w.harness.Do(ctx, "GET", "sys/storage/raft/snapshot", w.harness.root, nil)
	if err != nil {
		return fmt.Errorf("%w: %v", errDead, err)
	}
	return w.do(204, "PUT", "sys/storage/raft/snapshot", archive.Body, nil)
}
