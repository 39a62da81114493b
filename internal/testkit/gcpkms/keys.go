package gcpkms

import (
	"context"
	"regexp"
	"strings"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	day = 24 * time.Hour
	// Source: cloud.google.com/kms/docs/destroy-restore and CryptoKey.destroy_scheduled_duration in
	// resources.proto: 30 days unless said otherwise; cloud.google.com/kms/docs/create-key: from 24
	// hours to 120 days.
	defaultDestroy, leastDestroy, mostDestroy = 30 * day, day, 120 * day
	// Source: CryptoKey.rotation_period in resources.proto.
	leastRotation, mostRotation = day, 876_000 * time.Hour
	// Source: cloud.google.com/kms/docs/labeling-keys.
	mostLabels = 64
)

var (
	labelKey   = regexp.MustCompile(`^\p{Ll}[\p{Ll}\p{Lo}\p{N}_-]{0,62}$`)
	labelValue = regexp.MustCompile(`^[\p{Ll}\p{Lo}\p{N}_-]{0,63}$`)
)

// CreateCryptoKey makes a key, with a first version unless that is not wanted.
func (s *Service) CreateCryptoKey(_ context.Context, req *kmspb.CreateCryptoKeyRequest) (*kmspb.CryptoKey, error) {
	n, err := expect(req.GetParent(), keyRing)
	if err != nil {
		return nil, err
	}
	if !idForm.MatchString(req.GetCryptoKeyId()) {
		return nil, invalid("CryptoKey ID %.80q must match the regular expression [a-zA-Z0-9_-]{1,63}.",
			req.GetCryptoKeyId())
	}
	k, err := s.keyOf(req.GetCryptoKey())
	if err != nil {
		return nil, err
	}
	if req.GetTrustedWrappingEnabled() {
		return nil, invalid("trusted_wrapping_enabled needs the protection level HSM_SINGLE_TENANT.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rings[n.String()]
	if r == nil {
		return nil, status.Errorf(codes.NotFound, "KeyRing %s not found.", n)
	}
	n.key = req.GetCryptoKeyId()
	if r.Keys[n.key] != nil {
		return nil, status.Errorf(codes.AlreadyExists, "CryptoKey %s already exists.", n)
	}
	if !req.GetSkipInitialVersionCreation() {
		v, err := s.newVersion(n, k, k.Created)
		if err != nil {
			return nil, err
		}
		// Source: CryptoKey.primary in resources.proto: keys of ENCRYPT_DECRYPT may have a primary,
		// for others it is omitted.
		if k.Purpose == kmspb.CryptoKey_ENCRYPT_DECRYPT {
			k.Primary = v.id
		}
	}
	r.Keys[n.key] = k
	return k.proto(n), s.save()
}

// keyOf checks what a new key is to be.
func (s *Service) keyOf(p *kmspb.CryptoKey) (*key, error) {
	k := &key{
		Purpose: p.GetPurpose(), Created: s.o.Now(), Labels: p.GetLabels(), DestroyAfter: defaultDestroy,
		Level: p.GetVersionTemplate().GetProtectionLevel(), Algorithm: p.GetVersionTemplate().GetAlgorithm(),
	}
	if k.Purpose == kmspb.CryptoKey_CRYPTO_KEY_PURPOSE_UNSPECIFIED {
		return nil, invalid("CryptoKey.purpose is required.") // source: CreateCryptoKey in service.proto
	}
	if p.GetImportOnly() || p.GetCryptoKeyBackend() != "" {
		return nil, status.Error(codes.Unimplemented,
			"This emulator of Cloud KMS has no imported and no external keys.")
	}
	// Source: CryptoKeyVersionTemplate.protection_level in resources.proto: it defaults to
	// SOFTWARE.
	switch k.Level {
	case kmspb.ProtectionLevel_PROTECTION_LEVEL_UNSPECIFIED:
		k.Level = kmspb.ProtectionLevel_SOFTWARE
	case kmspb.ProtectionLevel_SOFTWARE, kmspb.ProtectionLevel_HSM:
	default:
		return nil, status.Error(codes.Unimplemented,
			"This emulator of Cloud KMS has the protection levels SOFTWARE and HSM.")
	}
	if d := p.GetDestroyScheduledDuration(); d != nil {
		if k.DestroyAfter = d.AsDuration(); d.CheckValid() != nil || k.DestroyAfter < leastDestroy ||
			k.DestroyAfter > mostDestroy {
			return nil, invalid("destroy_scheduled_duration must be from 24 hours to 120 days.")
		}
	}
	if err := k.setAlgorithm(k.Algorithm); err != nil {
		return nil, err
	}
	if err := checkLabels(k.Labels); err != nil {
		return nil, err
	}
	return k, k.setRotation(p, k.Created)
}

// setAlgorithm takes one that fits the purpose.
//
// Source: CryptoKeyVersionTemplate.algorithm in resources.proto: required, but implied for
// ENCRYPT_DECRYPT; and cloud.google.com/kms/docs/algorithms: each purpose has algorithms of its
// own.
func (k *key) setAlgorithm(a kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm) error {
	prefix := map[kmspb.CryptoKey_CryptoKeyPurpose][]string{
		kmspb.CryptoKey_ENCRYPT_DECRYPT:     {"GOOGLE_SYMMETRIC_ENCRYPTION"},
		kmspb.CryptoKey_ASYMMETRIC_SIGN:     {"RSA_SIGN_", "EC_SIGN_", "PQ_SIGN_"},
		kmspb.CryptoKey_ASYMMETRIC_DECRYPT:  {"RSA_DECRYPT_"},
		kmspb.CryptoKey_RAW_ENCRYPT_DECRYPT: {"AES_"},
		kmspb.CryptoKey_MAC:                 {"HMAC_"},
	}[k.Purpose]
	if prefix == nil {
		return status.Errorf(codes.Unimplemented, "This emulator of Cloud KMS has no keys of the purpose %s.",
			k.Purpose)
	}
	if a == 0 && k.Purpose == kmspb.CryptoKey_ENCRYPT_DECRYPT {
		a = kmspb.CryptoKeyVersion_GOOGLE_SYMMETRIC_ENCRYPTION
	}
	for _, p := range prefix {
		if strings.HasPrefix(a.String(), p) {
			k.Algorithm = a
			return nil
		}
	}
	return invalid("The algorithm %s cannot be used with keys of the purpose %s.", a, k.Purpose)
}

// setRotation takes the schedule of a request.
//
// Source: CryptoKey.rotation_period and next_rotation_time in resources.proto: only for
// ENCRYPT_DECRYPT; 24 hours to 876,000 hours; with a period there must be a next time. That it lies
// ahead is what cloud.google.com/kms/docs/rotate-key assumes of it.
func (k *key) setRotation(p *kmspb.CryptoKey, now time.Time) error {
	period, next := p.GetRotationPeriod(), p.GetNextRotationTime()
	switch {
	case period == nil && next == nil:
		k.RotationPeriod, k.NextRotation = 0, time.Time{}
		return nil
	case k.Purpose != kmspb.CryptoKey_ENCRYPT_DECRYPT:
		return invalid("Keys of the purpose %s cannot be rotated automatically.", k.Purpose)
	case period != nil && (period.CheckValid() != nil || period.AsDuration() < leastRotation ||
		period.AsDuration() > mostRotation):
		return invalid("rotation_period must be from 24 hours to 876,000 hours.")
	case next == nil:
		return invalid("next_rotation_time must be set where rotation_period is.")
	case next.CheckValid() != nil || !next.AsTime().After(now):
		return invalid("next_rotation_time must be in the future.")
	}
	k.RotationPeriod, k.NextRotation = period.AsDuration(), next.AsTime()
	return nil
}

// checkLabels: source: cloud.google.com/kms/docs/labeling-keys.
func checkLabels(labels map[string]string) error {
	if len(labels) > mostLabels {
		return invalid("A key has at most %d labels.", mostLabels)
	}
	for k, v := range labels {
		if !labelKey.MatchString(k) || !labelValue.MatchString(v) {
			return invalid("Label %.80q: keys and values are at most 63 lowercase letters, digits, underscores and "+
				"hyphens; "+
				"keys begin with a letter.", k)
		}
	}
	return nil
}

// GetCryptoKey returns a key and its primary version.
func (s *Service) GetCryptoKey(_ context.Context, req *kmspb.GetCryptoKeyRequest) (*kmspb.CryptoKey, error) {
	n, err := expect(req.GetName(), cryptoKey)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.findKey(n)
	if err != nil {
		return nil, err
	}
	return k.proto(n), nil
}

// UpdateCryptoKey changes what the mask names. The mask is required, and immutable and output-only
// fields are refused (service.proto, resources.proto and google.aip.dev/134).
func (s *Service) UpdateCryptoKey(_ context.Context, req *kmspb.UpdateCryptoKeyRequest) (*kmspb.CryptoKey, error) {
	n, err := expect(req.GetCryptoKey().GetName(), cryptoKey)
	if err != nil {
		return nil, err
	}
	paths := req.GetUpdateMask().GetPaths()
	if len(paths) == 0 {
		return nil, invalid("update_mask is required.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, err := s.findKey(n)
	if err != nil {
		return nil, err
	}
	k, p := *old, old.proto(n)
	for _, path := range paths {
		switch path {
		case "labels":
			k.Labels = req.GetCryptoKey().GetLabels()
			err = checkLabels(k.Labels)
		case "rotation_period":
			p.RotationSchedule = req.GetCryptoKey().GetRotationSchedule()
		case "next_rotation_time":
			p.NextRotationTime = req.GetCryptoKey().GetNextRotationTime()
		case "version_template.algorithm":
			err = k.setAlgorithm(req.GetCryptoKey().GetVersionTemplate().GetAlgorithm())
		default:
			err = invalid("The field %.100q cannot be updated.", path)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := k.setRotation(p, s.o.Now()); err != nil {
		return nil, err
	}
	*old = k
	return old.proto(n), s.save()
}

// UpdateCryptoKeyPrimaryVersion says which version Encrypt uses.
//
// Sources: service.proto: an error for keys of another purpose than ENCRYPT_DECRYPT;
// cloud.google.com/kms/docs/key-states: "a version which is not enabled can be made the primary
// version".
func (s *Service) UpdateCryptoKeyPrimaryVersion(
	_ context.Context, req *kmspb.UpdateCryptoKeyPrimaryVersionRequest,
) (*kmspb.CryptoKey, error) {
	n, err := expect(req.GetName(), cryptoKey)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.findKey(n)
	if err != nil {
		return nil, err
	}
	if k.Purpose != kmspb.CryptoKey_ENCRYPT_DECRYPT {
		return nil, unfit(n, k.Purpose.String(), "crypto_key.purpose")
	}
	id, ok := parse(n.String() + "/cryptoKeyVersions/" + req.GetCryptoKeyVersionId())
	if !ok {
		return nil, invalid("crypto_key_version_id %.80q is not valid.", req.GetCryptoKeyVersionId())
	}
	if _, _, err := s.findVersion(id); err != nil {
		return nil, err
	}
	k.Primary = id.version
	return k.proto(n), s.save()
}
