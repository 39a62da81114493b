package gcpkms

import (
	"bytes"
	"strings"

	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const v1 = theKey + "/cryptoKeyVersions/1"

func (r *harness) destroy() (*kmspb.CryptoKeyVersion, error) {
	return r.c.DestroyCryptoKeyVersion(r.t.Context(), &kmspb.DestroyCryptoKeyVersionRequest{Name: v1})
}

func (r *harness) restore() (*kmspb.CryptoKeyVersion, error) {
	return r.c.RestoreCryptoKeyVersion(r.t.Context(), &kmspb.RestoreCryptoKeyVersionRequest{Name: v1})
}

// unusable brings the first version into a state and tries to encrypt and to decrypt with it; the
// errors must be the same.
func unusable(change func(*harness)) func(*harness) error {
	return func(r *harness) error {
		sealed := r.sealed(theKey)
		change(r)
		_, err := r.encrypt(theKey, []byte("p"), nil)
		if _, named := r.encrypt(v1, []byte("p"), nil); status.Code(named) != status.Code(err) {
			r.t.Errorf("by its name: %v", named)
		}
		if _, derr := r.decrypt(theKey, sealed, nil); derr == nil || derr.Error() != err.Error() {
			r.t.Errorf("Decrypt: %v; Encrypt: %v", derr, err)
		}
		return err
	}
}

var versionRules = []rule{
	{"a disabled version", unusable(func(r *harness) { must(r.t, r.state(v1, disabled)) }), codes.FailedPrecondition,
		v1 + " is not enabled, current state is: DISABLED."},
	{"a version that is scheduled for destruction", unusable(func(r *harness) {
		v, err := r.destroy()
		must(r.t, err)
		if v.GetState() != scheduled || v.GetDestroyTime().AsTime().Sub(r.clock.Now()).Round(time.Minute) != 30*day {
			r.t.Errorf("%v", v)
		}
	}), codes.FailedPrecondition, "current state is: DESTROY_SCHEDULED."},
	{"a destroyed version", unusable(func(r *harness) {
		_, err := r.destroy()
		must(r.t, err)
		r.clock.add(30 * day)
		v, err := r.c.GetCryptoKeyVersion(r.t.Context(), &kmspb.GetCryptoKeyVersionRequest{Name: v1})
		must(r.t, err)
		if v.GetDestroyTime() != nil || v.GetDestroyEventTime() == nil {
			r.t.Errorf("%v", v)
		}
	}), codes.FailedPrecondition, "current state is: DESTROYED."},
	{"enabled again", func(r *harness) error {
		sealed := r.sealed(theKey)
		must(r.t, r.state(v1, disabled))
		must(r.t, r.state(v1, enabled))
		_, err := r.decrypt(theKey, sealed, nil)
		return err
	}, codes.OK, ""},
	{"destroyed twice", func(r *harness) error {
		_, err := r.destroy()
		must(r.t, err)
		_, err = r.destroy()
		return err
	}, codes.FailedPrecondition, "has value DESTROY_SCHEDULED in field crypto_key_version.state."},
	{"enabled while it is scheduled", func(r *harness) error {
		_, err := r.destroy()
		must(r.t, err)
		return r.state(v1, enabled)
	}, codes.FailedPrecondition, "DESTROY_SCHEDULED"},
	{"restored", func(r *harness) error {
		_, err := r.destroy()
		must(r.t, err)
		v, err := r.restore()
		if v.GetState() != disabled || v.GetDestroyTime() != nil {
			r.t.Errorf("%v", v)
		}
		return err
	}, codes.OK, ""},
	{"restored though it is enabled", func(r *harness) error { _, err := r.restore(); return err },
		codes.FailedPrecondition, "has value ENABLED"},
	{"restored too late", func(r *harness) error {
		_, err := r.destroy()
		must(r.t, err)
		r.clock.add(31 * day)
		_, err = r.restore()
		return err
	}, codes.FailedPrecondition, "has value DESTROYED"},
	{"a state that is not for setting", func(r *harness) error { return r.state(v1, scheduled) },
		codes.InvalidArgument, "ENABLED or DISABLED"},
	{"a field that is not for setting", func(r *harness) error { return r.state(v1, enabled, "state", "algorithm") },
		codes.InvalidArgument, "update_mask"},
	{"a version that is not there", func(r *harness) error { return r.state(theKey+"/cryptoKeyVersions/7", enabled) },
		codes.NotFound, "CryptoKeyVersion"},
	{"a new version that is destroyed", func(r *harness) error {
		_, err := r.c.CreateCryptoKeyVersion(r.t.Context(), &kmspb.CreateCryptoKeyVersionRequest{
			Parent: theKey, CryptoKeyVersion: &kmspb.CryptoKeyVersion{State: kmspb.CryptoKeyVersion_DESTROYED}})
		return err
	}, codes.InvalidArgument, "ENABLED or DISABLED"},
	{"an asymmetric key takes a moment", func(r *harness) error {
		must(r.t, r.create("n", &kmspb.CryptoKey{Purpose: kmspb.CryptoKey_ASYMMETRIC_SIGN,
			VersionTemplate: &kmspb.CryptoKeyVersionTemplate{
				Algorithm: kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256}}))
		ask := func() kmspb.CryptoKeyVersion_CryptoKeyVersionState {
			v, err := r.c.GetCryptoKeyVersion(r.t.Context(), &kmspb.GetCryptoKeyVersionRequest{Name: place +
				"/keyRings/r/cryptoKeys/n/cryptoKeyVersions/1"})
			must(r.t, err)
			return v.GetState()
		}
		if s := ask(); s != kmspb.CryptoKeyVersion_PENDING_GENERATION {
			r.t.Errorf("at first: %s", s)
		}
		r.clock.add(generation)
		if s := ask(); s != enabled {
			r.t.Errorf("later: %s", s)
		}
		return nil
	}, codes.OK, ""},
}

var cryptRules = []rule{
	{"round trip", func(r *harness) error {
		sealed, err := r.encrypt(theKey, []byte("plain"), []byte("data"))
		must(r.t, err)
		got, err := r.decrypt(theKey, sealed.GetCiphertext(), []byte("data"))
		if string(got.GetPlaintext()) != "plain" || !got.GetUsedPrimary() ||
			got.GetProtectionLevel() != kmspb.ProtectionLevel_SOFTWARE {
			r.t.Errorf("%v", got)
		}
		return err
	}, codes.OK, ""},
	{"a version that is named", func(r *harness) error {
		r.version()
		got, err := r.encrypt(theKey+"/cryptoKeyVersions/2", []byte("p"), nil)
		if !strings.HasSuffix(got.GetName(), "/2") {
			r.t.Errorf("encrypted by %s", got.GetName())
		}
		return err
	}, codes.OK, ""},
	{"other additional data", func(r *harness) error {
		_, err := r.decrypt(theKey, r.sealed(theKey), []byte("x"))
		return err
	}, codes.InvalidArgument, "Decryption failed"},
	{"every bit of a ciphertext", func(r *harness) error {
		sealed := r.sealed(theKey)
		for i := range sealed {
			bad := bytes.Clone(sealed)
			bad[i] ^= 0x10
			if _, err := r.decrypt(theKey, bad, nil); status.Code(err) != codes.InvalidArgument {
				r.t.Errorf("byte %d changed: %v", i, err)
			}
			if _, err := r.decrypt(theKey, sealed[:i], nil); status.Code(err) != codes.InvalidArgument {
				r.t.Errorf("cut to %d bytes: %v", i, err)
			}
		}
		_, err := r.decrypt(theKey, append(sealed, 0), nil)
		return err
	}, codes.InvalidArgument, "Decryption failed: the ciphertext is invalid."},
	{"a ciphertext of another key", func(r *harness) error {
		must(r.t, r.create("n", symmetricKey()))
		_, err := r.decrypt(theKey, r.sealed(place+"/keyRings/r/cryptoKeys/n"), nil)
		return err
	}, codes.InvalidArgument, "Decryption failed: verify that 'name' refers to the correct CryptoKey."},
	{"a key for MACs", func(r *harness) error {
		r.mac()
		_, err := r.encrypt(place+"/keyRings/r/cryptoKeys/mac", []byte("p"), nil)
		if _, derr := r.decrypt(place+"/keyRings/r/cryptoKeys/mac", []byte("c"),
			nil); status.Code(derr) != codes.FailedPrecondition {
			r.t.Errorf("Decrypt: %v", derr)
		}
		return err
	}, codes.FailedPrecondition, "has value MAC in field crypto_key.purpose"},
	{"a key without versions", func(r *harness) error {
		_, err := r.c.CreateCryptoKey(r.t.Context(), &kmspb.CreateCryptoKeyRequest{
			Parent: place + "/keyRings/r", CryptoKeyId: "n", CryptoKey: symmetricKey(),
			SkipInitialVersionCreation: true})
		must(r.t, err)
		_, err = r.encrypt(place+"/keyRings/r/cryptoKeys/n", []byte("p"), nil)
		return err
	}, codes.FailedPrecondition, "no primary version"},
	{"what the emulator does not do", func(r *harness) error {
		_, err := r.c.MacSign(r.t.Context(), &kmspb.MacSignRequest{Name: v1})
		return err
	}, codes.Unimplemented, "This emulator of Cloud KMS does not do \"MacSign\"."},
}

// sized encrypts so much, with a key of a protection level.
func sized(action string, plain, aad int) func(*harness) error {
	return func(r *harness) error {
		must(r.t, r.s.Act(action, place+"/keyRings/r/cryptoKeys/n"))
		sealed, err := r.encrypt(place+"/keyRings/r/cryptoKeys/n", make([]byte, plain), make([]byte, aad))
		if err != nil {
			return err
		}
		_, err = r.decrypt(place+"/keyRings/r/cryptoKeys/n", sealed.GetCiphertext(), make([]byte, aad))
		return err
	}
}

var limitRules = []rule{
	{"64 KiB and 64 KiB in software", sized("create", 64<<10, 64<<10), codes.OK, ""},
	{"a byte more of plaintext", sized("create", 64<<10+1, 0), codes.InvalidArgument, "65536"},
	{"a byte more of additional data", sized("create", 1, 64<<10+1), codes.InvalidArgument, "65536"},
	{"8 KiB together in an HSM", sized("create-hsm", 8<<10-7, 7), codes.OK, ""},
	{"a byte more in an HSM", sized("create-hsm", 8<<10-7, 8), codes.InvalidArgument, "8192"},
	{"no plaintext", sized("create", 0, 0), codes.InvalidArgument, "required"},
	{"no ciphertext", func(r *harness) error { _, err := r.decrypt(theKey, nil, nil); return err },
		codes.InvalidArgument, "required"},
}

var checksumRules = []rule{
	{"all checksums", func(r *harness) error {
		plain, aad := []byte("plain"), []byte("data")
		e, err := r.c.Encrypt(r.t.Context(), &kmspb.EncryptRequest{
			Name: theKey, Plaintext: plain, PlaintextCrc32C: checksum(plain), AdditionalAuthenticatedData: aad,
			AdditionalAuthenticatedDataCrc32C: checksum(aad),
		})
		must(r.t, err)
		if !e.GetVerifiedPlaintextCrc32C() || !e.GetVerifiedAdditionalAuthenticatedDataCrc32C() ||
			e.GetCiphertextCrc32C().GetValue() != checksum(e.GetCiphertext()).GetValue() {
			r.t.Errorf("%v", e)
		}
		d, err := r.c.Decrypt(r.t.Context(), &kmspb.DecryptRequest{
			Name: theKey, Ciphertext: e.GetCiphertext(), CiphertextCrc32C: checksum(e.GetCiphertext()),
			AdditionalAuthenticatedData: aad, AdditionalAuthenticatedDataCrc32C: checksum(aad),
		})
		if d.GetPlaintextCrc32C().GetValue() != checksum(plain).GetValue() {
			r.t.Errorf("%v", d)
		}
		return err
	}, codes.OK, ""},
	{"no checksums", func(r *harness) error {
		e, err := r.encrypt(theKey, []byte("p"), []byte("a"))
		if e.GetVerifiedPlaintextCrc32C() || e.GetVerifiedAdditionalAuthenticatedDataCrc32C() ||
			e.GetCiphertextCrc32C() == nil {
			r.t.Errorf("%v", e)
		}
		return err
	}, codes.OK, ""},
	{"wrong plaintext", func(r *harness) error {
		_, err := r.c.Encrypt(r.t.Context(), &kmspb.EncryptRequest{Name: theKey, Plaintext: []byte("p"),
			PlaintextCrc32C: wrapperspb.Int64(1)})
		return err
	}, codes.InvalidArgument, "The checksum in field plaintext_crc32c did not match the data in field plaintext."},
	{"wrong additional data", func(r *harness) error {
		_, err := r.c.Encrypt(r.t.Context(), &kmspb.EncryptRequest{Name: theKey, Plaintext: []byte("p"),
			AdditionalAuthenticatedDataCrc32C: wrapperspb.Int64(1)})
		return err
	}, codes.InvalidArgument, "additional_authenticated_data_crc32c"},
	{"wrong ciphertext", func(r *harness) error {
		_, err := r.c.Decrypt(r.t.Context(), &kmspb.DecryptRequest{Name: theKey, Ciphertext: r.sealed(theKey),
			CiphertextCrc32C: wrapperspb.Int64(-1)})
		return err
	}, codes.InvalidArgument, "ciphertext_crc32c"},
	{"wrong additional data to decrypt", func(r *harness) error {
		_, err := r.c.Decrypt(r.t.Context(), &kmspb.DecryptRequest{
			Name: theKey, Ciphertext: r.sealed(theKey), AdditionalAuthenticatedDataCrc32C: wrapperspb.Int64(1)})
		return err
	}, codes.InvalidArgument, "additional_authenticated_data_crc32c"},
}
