package gcpkms

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// rule is one that Google documents: what is done, and what must come of it. text is part of the
// error's.
type rule struct {
	name string
	do   func(*harness) error
	code codes.Code
	text string
}

// TestRules: one test for each rule, through Google's client.
func TestRules(t *testing.T) {
	t.Parallel()
	for _, group := range [][]rule{nameRules, ringRules, keyRules, rotationRules, versionRules, cryptRules, limitRules,
		checksumRules} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				r := newHarness(t, Options{})
				err := c.do(r)
				if status.Code(err) != c.code || err != nil && !strings.Contains(err.Error(), c.text) {
					t.Errorf("%v; want %s with %q", err, c.code, c.text)
				}
			})
		}
	}
}

var nameRules = []rule{
	{"a name of another kind", func(r *harness) error { return r.get(place + "/keyRings/r") }, codes.InvalidArgument,
		"not a valid resource type"},
	{"a key's name for a version", func(r *harness) error { return r.state(theKey, enabled) }, codes.InvalidArgument,
		"not a valid resource type"},
	{"a version for decrypting", func(r *harness) error {
		_, err := r.decrypt(theKey+"/cryptoKeyVersions/1", []byte("c"), nil)
		return err
	}, codes.InvalidArgument, "not a valid resource type"},
	{"ids of 63 letters", func(r *harness) error { return r.createRing(strings.Repeat("aZ9_-", 12) + "abc") },
		codes.OK, ""},
	{"ids of 64 letters", func(r *harness) error { return r.createRing(strings.Repeat("a", 64)) },
		codes.InvalidArgument, "{1,63}"},
	{"ids with dots", func(r *harness) error { return r.createRing("a.b") }, codes.InvalidArgument, "{1,63}"},
	{"an id that is empty", func(r *harness) error { return r.createRing("") }, codes.InvalidArgument, "{1,63}"},
	{"a key's id with a slash", func(r *harness) error { return r.create("a/b", symmetricKey()) },
		codes.InvalidArgument, "{1,63}"},
}

var ringRules = []rule{
	{"a ring twice", func(r *harness) error { return r.createRing("r") }, codes.AlreadyExists, "KeyRing " + place +
		"/keyRings/r already exists."},
	{"a ring that is not there", func(r *harness) error {
		_, err := r.c.GetKeyRing(r.t.Context(), &kmspb.GetKeyRingRequest{Name: place + "/keyRings/none"})
		return err
	}, codes.NotFound, "not found"},
	{"a ring", func(r *harness) error {
		got, err := r.c.GetKeyRing(r.t.Context(), &kmspb.GetKeyRingRequest{Name: place + "/keyRings/r"})
		if got.GetCreateTime() == nil {
			r.t.Error("without its time")
		}
		return err
	}, codes.OK, ""},
	{"a ring cannot be deleted", func(r *harness) error {
		for _, m := range kmspb.KeyManagementService_ServiceDesc.Methods {
			if m.MethodName == "DeleteKeyRing" {
				r.t.Error("google.cloud.kms.v1 has it by now: the emulator must learn it")
			}
		}
		return nil
	}, codes.OK, ""},
	{"a key in a ring that is not there", func(r *harness) error {
		_, err := r.c.CreateCryptoKey(r.t.Context(), &kmspb.CreateCryptoKeyRequest{Parent: place + "/keyRings/none",
			CryptoKeyId: "k", CryptoKey: symmetricKey()})
		return err
	}, codes.NotFound, "KeyRing"},
}

var keyRules = []rule{
	{"a key twice", func(r *harness) error { return r.create("k", symmetricKey()) }, codes.AlreadyExists,
		"already exists"},
	{"a key that is not there", func(r *harness) error { return r.get(place + "/keyRings/r/cryptoKeys/none") },
		codes.NotFound, "CryptoKey"},
	{"no purpose", func(r *harness) error { return r.create("n", &kmspb.CryptoKey{}) }, codes.InvalidArgument,
		"purpose"},
	{"an algorithm of another purpose", func(r *harness) error {
		return r.create("n", &kmspb.CryptoKey{Purpose: kmspb.CryptoKey_MAC,
			VersionTemplate: &kmspb.CryptoKeyVersionTemplate{
				Algorithm: kmspb.CryptoKeyVersion_GOOGLE_SYMMETRIC_ENCRYPTION}})
	}, codes.InvalidArgument, "algorithm"},
	{"no algorithm where one is needed", func(r *harness) error {
		return r.create("n", &kmspb.CryptoKey{Purpose: kmspb.CryptoKey_ASYMMETRIC_SIGN})
	}, codes.InvalidArgument, "algorithm"},
	{"external keys", func(r *harness) error {
		k := symmetricKey()
		k.VersionTemplate = &kmspb.CryptoKeyVersionTemplate{ProtectionLevel: kmspb.ProtectionLevel_EXTERNAL}
		return r.create("n", k)
	}, codes.Unimplemented, "emulator"},
	{"destruction after 23 hours", destroyedAfter(23 * time.Hour), codes.InvalidArgument, "24 hours"},
	{"destruction after 24 hours", destroyedAfter(24 * time.Hour), codes.OK, ""},
	{"destruction after 121 days", destroyedAfter(121 * day), codes.InvalidArgument, "120 days"},
	{"labels", labelled("team-1", "ops_2"), codes.OK, ""},
	{"a label in capitals", labelled("Team", "ops"), codes.InvalidArgument, "Label"},
	{"a label that begins with a digit", labelled("1team", "ops"), codes.InvalidArgument, "Label"},
	{"a label's value that is too long", labelled("team", strings.Repeat("a", 64)), codes.InvalidArgument, "Label"},
	{"65 labels", func(r *harness) error {
		k := symmetricKey()
		k.Labels = map[string]string{}
		for i := range 65 {
			k.Labels[fmt.Sprintf("l%d", i)] = ""
		}
		return r.create("n", k)
	}, codes.InvalidArgument, "64"},
	{"an update without a mask", func(r *harness) error { return r.update(&kmspb.CryptoKey{Name: theKey}) },
		codes.InvalidArgument, "update_mask"},
	{"an update of the purpose", func(r *harness) error {
		return r.update(&kmspb.CryptoKey{Name: theKey, Purpose: kmspb.CryptoKey_MAC}, "purpose")
	}, codes.InvalidArgument, "cannot be updated"},
	{"an update of labels", func(r *harness) error {
		err := r.update(&kmspb.CryptoKey{Name: theKey, Labels: map[string]string{"a": "b"}}, "labels")
		if k := r.key(theKey); k.GetLabels()["a"] != "b" {
			r.t.Errorf("labels %v", k.GetLabels())
		}
		return err
	}, codes.OK, ""},
	{"defaults", func(r *harness) error {
		k := r.key(theKey)
		if k.GetDestroyScheduledDuration().AsDuration() != 30*day ||
			k.GetPrimary().GetName() != theKey+"/cryptoKeyVersions/1" ||
			k.GetPrimary().GetState() != enabled ||
			k.GetPrimary().GetProtectionLevel() != kmspb.ProtectionLevel_SOFTWARE ||
			k.GetVersionTemplate().GetAlgorithm() != kmspb.CryptoKeyVersion_GOOGLE_SYMMETRIC_ENCRYPTION ||
			k.GetNextRotationTime() != nil {
			r.t.Errorf("%v", k)
		}
		return nil
	}, codes.OK, ""},
}

var rotationRules = []rule{
	{"a period without a time", rotated(day, 0), codes.InvalidArgument, "next_rotation_time"},
	{"a period of 23 hours", rotated(23*time.Hour, day), codes.InvalidArgument, "24 hours"},
	{"a period of a century and more", rotated(876_001*time.Hour, day), codes.InvalidArgument, "876,000"},
	{"a time that has passed", rotated(day, -time.Hour), codes.InvalidArgument, "future"},
	{"rotation of a key for MACs", func(r *harness) error {
		return r.create("n", &kmspb.CryptoKey{
			Purpose:          kmspb.CryptoKey_MAC,
			VersionTemplate:  &kmspb.CryptoKeyVersionTemplate{Algorithm: kmspb.CryptoKeyVersion_HMAC_SHA256},
			NextRotationTime: timestamppb.New(time.Now().Add(day)),
		})
	}, codes.InvalidArgument, "rotated"},
	{"rotation by time", func(r *harness) error {
		if err := rotated(2*day, day)(r); err != nil {
			return err
		}
		for _, c := range []struct {
			after time.Duration
			want  int
		}{{23 * time.Hour, 1}, {2 * time.Hour, 2}, {2 * day, 3}, {4 * day, 5}} {
			r.clock.add(c.after)
			if got := r.key(place + "/keyRings/r/cryptoKeys/n").GetPrimary().GetName(); !strings.HasSuffix(got,
				fmt.Sprintf("/%d", c.want)) {
				r.t.Errorf("the primary is %s; want version %d", got, c.want)
			}
		}
		return nil
	}, codes.OK, ""},
	{"another version becomes the primary", func(r *harness) error {
		sealed := r.sealed(theKey)
		r.version()
		res, err := r.encrypt(theKey, []byte("p"), nil)
		if err != nil || !strings.HasSuffix(res.GetName(), "/1") {
			r.t.Errorf("a new version encrypts at once: %v, %v", res, err)
		}
		if err := r.primary(theKey, "2"); err != nil {
			return err
		}
		if res, err = r.encrypt(theKey, []byte("p"), nil); err != nil || !strings.HasSuffix(res.GetName(), "/2") {
			r.t.Errorf("%v, %v", res, err)
		}
		got, err := r.decrypt(theKey, sealed, nil)
		if got.GetUsedPrimary() {
			r.t.Error("the older version is said to be the primary")
		}
		return err
	}, codes.OK, ""},
	{"a primary that is not there", func(r *harness) error { return r.primary(theKey, "9") }, codes.NotFound,
		"CryptoKeyVersion"},
	{"a primary with a strange number", func(r *harness) error { return r.primary(theKey, "01") },
		codes.InvalidArgument, "crypto_key_version_id"},
	{"a primary of a key for MACs", func(r *harness) error {
		r.mac()
		return r.primary(place+"/keyRings/r/cryptoKeys/mac", "1")
	}, codes.FailedPrecondition, "has value MAC in field crypto_key.purpose"},
	{"a primary that is disabled", func(r *harness) error {
		r.version()
		must(r.t, r.state(theKey+"/cryptoKeyVersions/2", disabled))
		return r.primary(theKey, "2")
	}, codes.OK, ""},
}

func symmetricKey() *kmspb.CryptoKey {
	return &kmspb.CryptoKey{Purpose: kmspb.CryptoKey_ENCRYPT_DECRYPT}
}

func destroyedAfter(d time.Duration) func(*harness) error {
	return func(r *harness) error {
		k := symmetricKey()
		k.DestroyScheduledDuration = durationpb.New(d)
		return r.create("n", k)
	}
}

func labelled(key, value string) func(*harness) error {
	return func(r *harness) error {
		k := symmetricKey()
		k.Labels = map[string]string{key: value}
		return r.create("n", k)
	}
}

func rotated(period, in time.Duration) func(*harness) error {
	return func(r *harness) error {
		k := symmetricKey()
		k.RotationSchedule = &kmspb.CryptoKey_RotationPeriod{RotationPeriod: durationpb.New(period)}
		if in != 0 {
			k.NextRotationTime = timestamppb.New(r.clock.Now().Add(in))
		}
		return r.create("n", k)
	}
}

func (r *harness) get(name string) error {
	_, err := r.c.GetCryptoKey(r.t.Context(), &kmspb.GetCryptoKeyRequest{Name: name})
	return err
}

func (r *harness) key(name string) *kmspb.CryptoKey {
	r.t.Helper()
	k, err := r.c.GetCryptoKey(r.t.Context(), &kmspb.GetCryptoKeyRequest{Name: name})
	must(r.t, err)
	return k
}

func (r *harness) createRing(id string) error {
	_, err := r.c.CreateKeyRing(r.t.Context(), &kmspb.CreateKeyRingRequest{Parent: place, KeyRingId: id,
		KeyRing: &kmspb.KeyRing{}})
	return err
}

func (r *harness) create(id string, k *kmspb.CryptoKey) error {
	_, err := r.c.CreateCryptoKey(r.t.Context(), &kmspb.CreateCryptoKeyRequest{Parent: place + "/keyRings/r",
		CryptoKeyId: id, CryptoKey: k})
	return err
}

// mac makes a key that cannot encrypt.
func (r *harness) mac() {
	r.t.Helper()
	must(r.t, r.create("mac", &kmspb.CryptoKey{
		Purpose: kmspb.CryptoKey_MAC,
		VersionTemplate: &kmspb.CryptoKeyVersionTemplate{
			Algorithm: kmspb.CryptoKeyVersion_HMAC_SHA256,
		},
	}))
}

func (r *harness) update(k *kmspb.CryptoKey, mask ...string) error {
	_, err := r.c.UpdateCryptoKey(r.t.Context(), &kmspb.UpdateCryptoKeyRequest{CryptoKey: k,
		UpdateMask: &fieldmaskpb.FieldMask{Paths: mask}})
	return err
}

func (r *harness) version() {
	r.t.Helper()
	_, err := r.c.CreateCryptoKeyVersion(r.t.Context(), &kmspb.CreateCryptoKeyVersionRequest{Parent: theKey,
		CryptoKeyVersion: &kmspb.CryptoKeyVersion{}})
	must(r.t, err)
}

func (r *harness) primary(name, version string) error {
	_, err := r.c.UpdateCryptoKeyPrimaryVersion(r.t.Context(),
		&kmspb.UpdateCryptoKeyPrimaryVersionRequest{Name: name, CryptoKeyVersionId: version})
	return err
}

func (r *harness) state(name string, to kmspb.CryptoKeyVersion_CryptoKeyVersionState, mask ...string) error {
	if mask == nil {
		mask = []string{"state"}
	}
	_, err := r.c.UpdateCryptoKeyVersion(r.t.Context(), &kmspb.UpdateCryptoKeyVersionRequest{
		CryptoKeyVersion: &kmspb.CryptoKeyVersion{Name: name, State: to},
		UpdateMask:       &fieldmaskpb.FieldMask{Paths: mask},
	})
	return err
}

func (r *harness) encrypt(name string, plain, aad []byte) (*kmspb.EncryptResponse, error) {
	return r.c.Encrypt(r.t.Context(), &kmspb.EncryptRequest{Name: name, Plaintext: plain,
		AdditionalAuthenticatedData: aad})
}

func (r *harness) decrypt(name string, sealed, aad []byte) (*kmspb.DecryptResponse, error) {
	return r.c.Decrypt(r.t.Context(), &kmspb.DecryptRequest{Name: name, Ciphertext: sealed,
		AdditionalAuthenticatedData: aad})
}

func (r *harness) sealed(name string) []byte {
	r.t.Helper()
	res, err := r.encrypt(name, []byte("plain"), nil)
	must(r.t, err)
	return res.GetCiphertext()
}

// TestLists: pages, their order, and what cannot be asked for.
func TestLists(t *testing.T) {
	t.Parallel()
	r := newHarness(t, Options{})
	for range 4 {
		r.version()
	}
	must(t, r.s.Act("create", place+"/keyRings/r/cryptoKeys/a"))
	must(t, r.s.Act("create", place+"/keyRings/q/cryptoKeys/a"))
	ctx := context.Background()
	var got []string
	token := ""
	for range 3 {
		res, err := r.s.ListCryptoKeyVersions(ctx, &kmspb.ListCryptoKeyVersionsRequest{Parent: theKey, PageSize: 2,
			PageToken: token})
		must(t, err)
		for _, v := range res.GetCryptoKeyVersions() {
			got = append(got, v.GetName()[len(v1)-1:])
		}
		token = res.GetNextPageToken()
		if res.GetTotalSize() != 5 {
			t.Errorf("%d in all", res.GetTotalSize())
		}
	}
	if strings.Join(got, "") != "12345" || token != "" {
		t.Errorf("versions %v, and then %q", got, token)
	}
	keys, err := r.s.ListCryptoKeys(ctx, &kmspb.ListCryptoKeysRequest{Parent: place + "/keyRings/r"})
	if err != nil || len(keys.GetCryptoKeys()) != 2 || keys.GetCryptoKeys()[1].GetName() != theKey {
		t.Errorf("keys %v, %v", keys, err)
	}
	rings, err := r.s.ListKeyRings(ctx, &kmspb.ListKeyRingsRequest{Parent: place})
	if err != nil || len(rings.GetKeyRings()) != 2 {
		t.Errorf("rings %v, %v", rings, err)
	}
	for name, c := range map[string]struct {
		req  *kmspb.ListCryptoKeyVersionsRequest
		want codes.Code
	}{
		"negative": {&kmspb.ListCryptoKeyVersionsRequest{Parent: theKey, PageSize: -1}, codes.InvalidArgument},
		"token":    {&kmspb.ListCryptoKeyVersionsRequest{Parent: theKey, PageToken: "9"}, codes.InvalidArgument},
		"filter":   {&kmspb.ListCryptoKeyVersionsRequest{Parent: theKey, Filter: "state=ENABLED"}, codes.Unimplemented},
		"parent": {&kmspb.ListCryptoKeyVersionsRequest{Parent: place + "/keyRings/r/cryptoKeys/none"},
			codes.NotFound},
	} {
		if _, err := r.s.ListCryptoKeyVersions(ctx, c.req); status.Code(err) != c.want {
			t.Errorf("%s: %v; want %s", name, err, c.want)
		}
	}
}
