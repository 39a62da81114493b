package gcpkms

import (
	"context"
	"errors"
	"fmt"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// ErrAction is returned for an unknown action.
var ErrAction = errors.New("gcpkms: no such action")

// Act performs an administrator's action on a key or version, without credentials and quotas. name
// is a version's, or a key's: then its primary version is meant.
//
//	create      a missing key (name), and its ring
//	create-hsm  the same, with the protection level HSM
//	rotate      a new version, which becomes the primary
//	disable, enable, schedule, restore
//	destroy     immediately, which the real service cannot do
func (s *Service) Act(action, target string) error {
	ctx := context.Background()
	switch action {
	case "create":
		return s.create(ctx, target, kmspb.ProtectionLevel_SOFTWARE)
	case "create-hsm":
		return s.create(ctx, target, kmspb.ProtectionLevel_HSM)
	}
	n, err := expect(target, keyOrVersion)
	if err != nil {
		return err
	}
	if action == "rotate" {
		return s.rotate(ctx, n.ofKey())
	}
	if n.version == 0 {
		k, err := s.GetCryptoKey(ctx, &kmspb.GetCryptoKeyRequest{Name: target})
		if err != nil {
			return err
		}
		n, _ = parse(k.GetPrimary().GetName())
	}
	switch action {
	case "disable":
		err = s.set(ctx, n, disabled)
	case "enable":
		err = s.set(ctx, n, enabled)
	case "schedule":
		_, err = s.DestroyCryptoKeyVersion(ctx, &kmspb.DestroyCryptoKeyVersionRequest{Name: n.String()})
	case "restore":
		_, err = s.RestoreCryptoKeyVersion(ctx, &kmspb.RestoreCryptoKeyVersionRequest{Name: n.String()})
	case "destroy":
		_, err = s.move(n.String(), func(v *version, _ *key) { v.erase(s.o.Now()) }, enabled, disabled, scheduled)
	default:
		err = fmt.Errorf("%w: %q", ErrAction, action)
	}
	return err
}

func (s *Service) set(ctx context.Context, n name, state kmspb.CryptoKeyVersion_CryptoKeyVersionState) error {
	_, err := s.UpdateCryptoKeyVersion(ctx, &kmspb.UpdateCryptoKeyVersionRequest{
		CryptoKeyVersion: &kmspb.CryptoKeyVersion{Name: n.String(), State: state},
		UpdateMask:       &fieldmaskpb.FieldMask{Paths: []string{"state"}},
	})
	return err
}

func (s *Service) rotate(ctx context.Context, of name) error {
	v, err := s.CreateCryptoKeyVersion(ctx, &kmspb.CreateCryptoKeyVersionRequest{Parent: of.String()})
	if err != nil {
		return err
	}
	n, _ := parse(v.GetName())
	_, err = s.UpdateCryptoKeyPrimaryVersion(ctx, &kmspb.UpdateCryptoKeyPrimaryVersionRequest{
		Name: of.String(), CryptoKeyVersionId: fmt.Sprint(n.version),
	})
	return err
}

// create makes a key, and its ring, where they are missing.
func (s *Service) create(ctx context.Context, target string, level kmspb.ProtectionLevel) error {
	n, err := expect(target, cryptoKey)
	if err != nil {
		return err
	}
	if s.has(n) {
		return nil
	}
	if !s.has(n.ofRing()) {
		parent := name{project: n.project, location: n.location}
		if _, err := s.CreateKeyRing(ctx, &kmspb.CreateKeyRingRequest{Parent: parent.String(),
			KeyRingId: n.ring}); err != nil {
			return err
		}
	}
	_, err = s.CreateCryptoKey(ctx, &kmspb.CreateCryptoKeyRequest{
		Parent: n.ofRing().String(), CryptoKeyId: n.key, CryptoKey: &kmspb.CryptoKey{
			Purpose:         kmspb.CryptoKey_ENCRYPT_DECRYPT,
			VersionTemplate: &kmspb.CryptoKeyVersionTemplate{ProtectionLevel: level},
		},
	})
	return err
}

func (s *Service) has(n name) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rings[n.ofRing().String()]
	return r != nil && (n.key == "" || r.Keys[n.key] != nil)
}
