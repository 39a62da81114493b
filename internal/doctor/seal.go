package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/seals"
)

// counted is implemented by seals whose PIN has a retry counter.
type counted interface {
	PINState(ctx context.Context) (low, final, locked bool, err error)
}

// slow is the duration of a round trip from which a seal gets a warning.
const slow = 2 * time.Second

// seals checks each seal, and whether enough of them decrypt the stored root key. It returns those
// that do.
func (e *exam) seals(ctx context.Context) (would []string) {
	stanzas := e.cfg.Seals
	if len(stanzas) == 0 {
		stanzas = []config.Seal{{Type: "shamir", Name: "shamir"}}
	}
	custodians := false
	for _, s := range stanzas {
		on := e.on("seal", s.Name, s.Pos)
		factory, ok := e.Factories[s.Type]
		if !ok {
			on.fail("use one of "+strings.Join(slices.Sorted(maps.Keys(e.Factories)), ", "), "unknown seal type %q",
				s.Type)
			continue
		}
		if s.Disabled {
			on.ok("it is disabled")
			continue
		}
		w, err := factory(e.harmless(s))
		if err != nil {
			on.seal("it cannot be configured", err)
			continue
		}
		if _, ok := w.(seals.Quorum); ok {
			custodians = true
			on.ok("custodians hold its key: their shares unseal the server")
		} else if e.tryOne(ctx, on, w, e.makesKeys(s)) &&
			e.opensStored(ctx, on, seals.Seal{Name: s.Name, Type: s.Type, Wrapper: w}) {
			would = append(would, s.Name)
		}
		if u, ok := w.(seals.Upstream); ok {
			e.upstream(ctx, on, u)
		}
		e.remember(s)
		if c, ok := w.(seals.Closer); ok {
			_ = c.Close() // a library that hangs was reported above
		}
	}
	e.checkPolicy(would, custodians)
	e.missing()
	return would
}

// harmless is the seal's configuration without the settings that make a missing key.
func (e *exam) harmless(s config.Seal) seals.Config {
	params := maps.Clone(map[string]string(s.Params))
	delete(params, "generate_key")
	return seals.Config{Name: s.Name, Type: s.Type, Params: params, Log: slog.New(slog.DiscardHandler),
		Getenv: func(name string) string {
			if strings.HasSuffix(name, "_GENERATE_KEY") {
				return ""
			}
			return e.Getenv(name)
		}}
}

// makesKeys reports whether the server would generate a missing key of this seal: it is not
// initialised, and the stanza or the environment sets generate_key.
func (e *exam) makesKeys(s config.Seal) bool {
	if e.record != nil || e.locked || s.Type != "pkcs11" {
		return false
	}
	for _, prefix := range []string{"SEALGATE_HSM_", "BAO_HSM_", "VAULT_HSM_"} {
		if v := e.Getenv(prefix + "GENERATE_KEY"); v != "" {
			yes, err := strconv.ParseBool(v)
			return yes && err == nil
		}
	}
	yes, err := strconv.ParseBool(s.Params["generate_key"])
	return yes && err == nil
}

// missing reports the seals of the stored root key that are not in the configuration.
func (e *exam) missing() {
	if e.record == nil {
		return
	}
	configured := map[string]bool{}
	for _, s := range e.cfg.Seals {
		configured[s.Name] = true
	}
	if len(e.cfg.Seals) == 0 {
		configured["shamir"] = true
	}
	missing := []string{}
	for _, p := range e.record.Parts {
		if !configured[p.Name] {
			missing = append(missing, fmt.Sprintf("%s %q", p.Type, p.Name))
		}
	}
	if !e.record.Plan().Opens(func(name string) bool { return configured[name] }) {
		e.on("seal", "all", e.cfg.SealPolicy.Pos).fail("add the seal stanzas of these seals, with their names",
			"the stored root key is wrapped by seals that are not configured: %s", strings.Join(missing, ", "))
	}
}

// checkPolicy checks whether the seals suffice for the stored root key.
func (e *exam) checkPolicy(would []string, custodians bool) {
	on := e.on("seal", "all", e.cfg.SealPolicy.Pos)
	switch {
	case e.locked && e.running != nil && e.running.would:
		on.ok("the running server reports that they would unseal it")
	case e.locked && e.running != nil && e.running.sealed:
		on.fail("see the findings of each seal", "the running server reports that they do not unseal it; it unseals "+
			"automatically once they can")
	case e.locked && e.running != nil:
		on.fail("see the findings of each seal", "the running server reports that they would not unseal it: do not "+
			"restart it")
	case e.record == nil:
	case e.record.Plan().OpensWith(would):
		on.ok("%d seals decrypt the stored root key; needed: %s", len(would), needed(e.record))
	case custodians:
		on.ok("the server does not unseal automatically: custodians unseal it with their shares")
	default:
		on.fail("see the findings of each seal", "%d seals decrypt the stored root key, and %s are needed: the server "+
			"would stay sealed", len(would), needed(e.record))
	}
}

// needed is which seals open a record: their number, or the policy where it has groups.
func needed(r *seals.Record) string {
	if r.Plan().Grouped() {
		return r.Plan().Expression()
	}
	return strconv.Itoa(r.Threshold)
}

// tryOne checks a seal without the stored root key: PIN, key and round trip. It reports whether the
// seal works.
func (e *exam) tryOne(ctx context.Context, on topic, w wrapping.Wrapper, makesKeys bool) bool {
	if c, ok := w.(counted); ok && !e.pin(ctx, on, c) {
		return false
	}
	var id string
	if err := e.call(ctx, func(ctx context.Context) (err error) { id, err = w.KeyId(ctx); return err }); err != nil {
		f := seals.Classify(err)
		if makesKeys && f.Class == seals.KeyGone {
			on.ok("its key does not exist; the server will generate it when it is initialised (generate_key)")
			return false
		}
		on.seal("its key cannot be found", err)
		// some credentials may use a key but not describe it
		if f.Final || f.Class != seals.Denied && f.Class != seals.Unknown {
			return false
		}
	} else {
		on.ok("its key is %s", id)
	}
	if d, ok := w.(seals.Describer); ok {
		e.describe(ctx, on, d)
	}
	return e.roundTrip(ctx, on, w)
}

// call bounds a call, even of a provider that ignores its context.
func (e *exam) call(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, e.Deadline)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return seals.Fail(seals.Unreachable, fmt.Errorf("no response within %s", e.Deadline),
			"check that the device or service is running and reachable from this host")
	}
}

// pin checks the retry counter before any PIN is sent, and reports whether one may be sent.
func (e *exam) pin(ctx context.Context, on topic, c counted) bool {
	var low, final, locked bool
	err := e.call(ctx, func(ctx context.Context) (err error) { low, final, locked, err = c.PINState(ctx); return err })
	switch {
	case err != nil:
		on.seal("its token cannot be found", err)
	case locked:
		on.fail("let the HSM's security officer set a new PIN",
			"the token's PIN is locked (CKF_USER_PIN_LOCKED): no PIN "+
				"was sent")
	case final:
		on.fail("check the PIN, then log in once with the HSM's own tool, which resets the counter",
			"the token has a single try of the PIN left (CKF_USER_PIN_FINAL_TRY): doctor sent no PIN, and the "+
				"server sends "+
				"none either")
	case low:
		on.warn("check the PIN: a successful login resets the counter",
			"a wrong PIN was sent to the token since the last login (CKF_USER_PIN_COUNT_LOW)")
		return true
	default:
		on.ok("the token's PIN has all of its tries")
		return true
	}
	return false
}

// describe reports the state of the key.
func (e *exam) describe(ctx context.Context, on topic, d seals.Describer) {
	var k seals.KeyState
	if err := e.call(ctx, func(ctx context.Context) (err error) { k, err = d.Describe(ctx); return err }); err != nil {
		on.seal("its key cannot be described", err)
		return
	}
	if !k.DeletionDate.IsZero() {
		on.fail("cancel the deletion, or wrap the root key with another seal before that time",
			"its key will be destroyed at %s; nothing that it wrapped can be decrypted after that",
			k.DeletionDate.UTC().Format(time.RFC3339))
	}
	if why := k.Detail["degraded"]; why != "" {
		on.warn("grant that permission: without it a scheduled deletion of the key goes unnoticed",
			"the state of its key is only partly known: %s", why)
	}
	if why := k.Detail["warning"]; why != "" {
		on.warn("generate a key that cannot leave the device, and wrap the root key by it", "%s", why)
	}
	parts := []string{}
	for _, p := range []struct{ name, value string }{
		{"state", k.State}, {"version", k.Version}, {"newest version", k.Latest}, {"protection", k.Protection},
		{"region", k.Region},
	} {
		if p.value != "" {
			parts = append(parts, p.name+" "+p.value)
		}
	}
	if len(parts) > 0 {
		on.ok("its key has %s", strings.Join(parts, ", "))
	}
}

// roundTrip wraps random bytes and unwraps them, with the same additional data and with other data.
func (e *exam) roundTrip(ctx context.Context, on topic, w wrapping.Wrapper) bool {
	plain, err := secret.Random(e.Rand, 32)
	if err != nil {
		on.fail("check this machine's source of randomness", "no random bytes: %v", err)
		return false
	}
	defer plain.Destroy()
	aad := []byte("sealgate.doctor=v1: discarded at once")
	var blob *wrapping.BlobInfo
	begun := time.Now()
	if err := e.call(ctx, func(ctx context.Context) (err error) {
		blob, err = w.Encrypt(ctx, plain.Expose(), wrapping.WithAad(aad))
		return err
	}); err != nil {
		on.seal("it does not wrap", err)
		return false
	}
	wrapped := time.Since(begun)
	begun = time.Now()
	back, err := e.unwrap(ctx, w, blob, aad)
	took := time.Since(begun)
	switch {
	case err != nil:
		on.seal("it does not unwrap what it wrapped", err)
		return false
	case !back.Equal(plain):
		on.fail("check the device or service: it returns wrong data", "it unwraps to other data than it wrapped")
		return false
	}
	back.Destroy()
	e.binds(ctx, on, w, blob)
	e.add(Finding{Area: on.area, About: on.about, Level: OK, Took: float64((wrapped + took).Microseconds()) / 1000,
		Text: fmt.Sprintf("it wraps (%s) and unwraps (%s)", wrapped.Round(time.Microsecond*10),
			took.Round(time.Microsecond*10))})
	if wrapped+took > slow {
		on.warn("check the network and the load of the device", "it is slow: %s for one round trip",
			(wrapped + took).Round(time.Millisecond))
	}
	return true
}

func (e *exam) unwrap(ctx context.Context, w wrapping.Wrapper, blob *wrapping.BlobInfo, aad []byte) (*secret.Bytes,
	error) {
	out := make(chan *secret.Bytes, 1)
	err := e.call(ctx, func(ctx context.Context) error {
		b, err := w.Decrypt(ctx, blob, wrapping.WithAad(bytes.Clone(aad)))
		if err == nil {
			out <- secret.New(b)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return <-out, nil
}

// binds checks that other additional data is refused.
func (e *exam) binds(ctx context.Context, on topic, w wrapping.Wrapper, blob *wrapping.BlobInfo) {

	other, err := e.unwrap(ctx, w, blob, []byte("sealgate.doctor=v1: other data"))
	switch {
	case err == nil:
		other.Destroy()
		on.fail("do not use it: this is a fault of the device or service",
			"it unwraps with other additional data than it wrapped with, so that an attacker could swap wrapped keys")
	case seals.ClassOf(err).Transient():
		on.warn("try again", "cannot check whether it binds additional data: %v", seals.Classify(err).Err)
	default:
		on.ok("it refuses other additional data")
	}
}

// opensStored decrypts this seal's part of the stored root key, or reads from the running server
// whether it would.
func (e *exam) opensStored(ctx context.Context, on topic, m seals.Seal) bool {
	switch {
	case e.locked && e.running != nil:
		for _, st := range e.running.seals {
			if st.Name != m.Name {
				continue
			}
			if st.WouldUnseal {
				on.ok("the running server decrypted the stored root key with it at %s",
					st.LastProof.UTC().Format(time.RFC3339))
				return true
			}
			on.seal("the running server reports that it does not decrypt the stored root key",
				&seals.Failure{Class: st.Class, Err: errors.New(st.Cause), Remedy: st.Remedy})
			return false
		}
		on.fail("restart the server after the seal wraps a part of the root key",
			"the running server does not have this seal")
		return false
	case e.record == nil:
		return true
	}
	set, err := seals.NewSet([]seals.Seal{m}, seals.Options{Deadline: e.Deadline, Now: e.Now})
	if err != nil {
		on.seal("it cannot be checked", err)
		return false
	}
	st := set.Probe(ctx, e.record)[0]
	if st.WouldUnseal {
		on.ok("it decrypts the stored root key; key version needed: %s", versionOf(st))
		return true
	}
	on.seal("it does not decrypt the stored root key",
		&seals.Failure{Class: st.Class, Err: errors.New(st.Cause), Remedy: st.Remedy})
	return false
}

func versionOf(st seals.Status) string {
	if st.KeyVersion == "" {
		return "its key has no versions"
	}
	return st.KeyVersion
}
