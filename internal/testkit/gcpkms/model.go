package gcpkms

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha512"
	"fmt"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// ring is a key ring. It cannot be deleted: google.cloud.kms.v1 has no such method
// (cloud.google.com/kms/docs/resource-hierarchy).
type ring struct {
	Created time.Time       `json:"created"`
	Keys    map[string]*key `json:"keys"`
}

// key is a CryptoKey with its versions; version n is Versions[n-1].
type key struct {
	Purpose        kmspb.CryptoKey_CryptoKeyPurpose                 `json:"purpose"`
	Level          kmspb.ProtectionLevel                            `json:"level"`
	Algorithm      kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm `json:"algorithm"`
	Created        time.Time                                        `json:"created"`
	Labels         map[string]string                                `json:"labels,omitempty"`
	RotationPeriod time.Duration                                    `json:"rotation_period,omitempty"`
	NextRotation   time.Time                                        `json:"next_rotation,omitzero"`
	DestroyAfter   time.Duration                                    `json:"destroy_after"`
	Primary        uint64                                           `json:"primary,omitempty"`
	Versions       []*version                                       `json:"versions"`
}

// version is a CryptoKeyVersion. Material is gone once it is destroyed.
type version struct {
	State     kmspb.CryptoKeyVersion_CryptoKeyVersionState `json:"state"`
	Created   time.Time                                    `json:"created"`
	Destroy   time.Time                                    `json:"destroy,omitzero"`   // scheduled for
	Destroyed time.Time                                    `json:"destroyed,omitzero"` // done
	Material  []byte                                       `json:"material,omitempty"` // AES-256; a symmetric key only

	id   uint64
	hint [hintLen]byte // says in a ciphertext which version made it
	aead cipher.AEAD   // nil once the material is gone
}

// open derives the fields of a version that are not stored.
func (v *version) open(of name, id uint64) error {
	v.id = id
	of.version = id
	sum := sha512.Sum512(fmt.Appendf(nil, "gcp-kms-standin\x00%s\x00%d", of, v.Created.UnixNano()))
	copy(v.hint[1:], sum[:])
	if v.aead = nil; v.Material == nil {
		return nil
	}
	block, err := aes.NewCipher(v.Material)
	if err != nil {
		return err
	}
	v.aead, err = cipher.NewGCM(block)
	return err
}

func (v *version) erase(now time.Time) {
	clear(v.Material)
	v.State, v.Destroyed, v.Destroy, v.Material, v.aead = kmspb.CryptoKeyVersion_DESTROYED, now, time.Time{}, nil, nil
}

// generation is how long the emulator takes to make an asymmetric key.
const generation = time.Second

// settle applies the changes that are due by time. It reports whether anything changed.
func (s *Service) settle(of name, k *key) (bool, error) {
	now, changed := s.o.Now(), false
	for _, v := range k.Versions {
		switch {
		// Source: cloud.google.com/kms/docs/destroy-restore: at destroy_time the state becomes
		// DESTROYED, and the material is gone.
		case v.State == kmspb.CryptoKeyVersion_DESTROY_SCHEDULED && !now.Before(v.Destroy):
			v.erase(v.Destroy)
			changed = true
		// Source: cloud.google.com/kms/docs/key-states: "automatically change the state to enabled
		// as soon as the version is ready".
		case v.State == kmspb.CryptoKeyVersion_PENDING_GENERATION && now.Sub(v.Created) >= generation:
			v.State = kmspb.CryptoKeyVersion_ENABLED
			changed = true
		}
	}
	// Source: CryptoKey.next_rotation_time in resources.proto: a new version is created and made
	// primary, and the time is advanced by the period.
	for range 1000 {
		if k.NextRotation.IsZero() || now.Before(k.NextRotation) {
			break
		}
		v, err := s.newVersion(of, k, k.NextRotation)
		if err != nil {
			return changed, err
		}
		k.Primary, changed = v.id, true
		if k.RotationPeriod == 0 {
			k.NextRotation = time.Time{}
			break
		}
		k.NextRotation = k.NextRotation.Add(k.RotationPeriod)
	}
	return changed, nil
}

// newVersion makes the next version of a key. Source: CreateCryptoKeyVersion in service.proto: "the
// next sequential id".
func (s *Service) newVersion(of name, k *key, now time.Time) (*version, error) {
	v := &version{State: kmspb.CryptoKeyVersion_ENABLED, Created: now}
	if symmetric(k.Purpose) {
		v.Material = make([]byte, 32)
		if _, err := s.o.Rand.Read(v.Material); err != nil {
			return nil, status.Error(codes.Internal, "no randomness")
		}
	} else {
		// Source: cloud.google.com/kms/docs/key-states: an asymmetric key's version starts as
		// pending generation, a symmetric one's enabled.
		v.State = kmspb.CryptoKeyVersion_PENDING_GENERATION
	}
	if err := v.open(of, uint64(len(k.Versions)+1)); err != nil {
		return nil, status.Error(codes.Internal, "a key that cannot be used")
	}
	k.Versions = append(k.Versions, v)
	return v, nil
}

func symmetric(p kmspb.CryptoKey_CryptoKeyPurpose) bool {
	return p == kmspb.CryptoKey_ENCRYPT_DECRYPT || p == kmspb.CryptoKey_RAW_ENCRYPT_DECRYPT || p == kmspb.CryptoKey_MAC
}

func (k *key) proto(of name) *kmspb.CryptoKey {
	out := &kmspb.CryptoKey{
		Name: of.String(), Purpose: k.Purpose, CreateTime: timestamppb.New(k.Created), Labels: k.Labels,
		VersionTemplate:          &kmspb.CryptoKeyVersionTemplate{ProtectionLevel: k.Level, Algorithm: k.Algorithm},
		DestroyScheduledDuration: durationpb.New(k.DestroyAfter),
	}
	if k.Primary != 0 {
		out.Primary = k.Versions[k.Primary-1].proto(of, k)
	}
	if k.RotationPeriod != 0 {
		out.RotationSchedule = &kmspb.CryptoKey_RotationPeriod{RotationPeriod: durationpb.New(k.RotationPeriod)}
	}
	if !k.NextRotation.IsZero() {
		out.NextRotationTime = timestamppb.New(k.NextRotation)
	}
	return out
}

func (v *version) proto(of name, k *key) *kmspb.CryptoKeyVersion {
	of.version = v.id
	out := &kmspb.CryptoKeyVersion{
		Name: of.String(), State: v.State, ProtectionLevel: k.Level, Algorithm: k.Algorithm,
		CreateTime: timestamppb.New(v.Created),
	}
	if v.State != kmspb.CryptoKeyVersion_PENDING_GENERATION {
		out.GenerateTime = timestamppb.New(v.Created)
	}
	// Source: CryptoKeyVersion.destroy_time and destroy_event_time in resources.proto: each present
	// in one state only.
	if !v.Destroy.IsZero() {
		out.DestroyTime = timestamppb.New(v.Destroy)
	}
	if !v.Destroyed.IsZero() {
		out.DestroyEventTime = timestamppb.New(v.Destroyed)
	}
	return out
}
