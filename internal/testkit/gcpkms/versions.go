package gcpkms

import (
	"context"
	"slices"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
)

const (
	enabled   = kmspb.CryptoKeyVersion_ENABLED
	disabled  = kmspb.CryptoKeyVersion_DISABLED
	scheduled = kmspb.CryptoKeyVersion_DESTROY_SCHEDULED
)

// CreateCryptoKeyVersion makes the next version; it does not become the primary
// (cloud.google.com/kms/docs/rotate-key).
func (s *Service) CreateCryptoKeyVersion(
	_ context.Context, req *kmspb.CreateCryptoKeyVersionRequest,
) (*kmspb.CryptoKeyVersion, error) {
	n, err := expect(req.GetParent(), cryptoKey)
	if err != nil {
		return nil, err
	}
	// Source: service.proto: the state, "if unset", is ENABLED.
	state := req.GetCryptoKeyVersion().GetState()
	if state != 0 && state != enabled && state != disabled {
		return nil, invalid("A new version is ENABLED or DISABLED, not %s.", state)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.findKey(n)
	if err != nil {
		return nil, err
	}
	v, err := s.newVersion(n, k, s.o.Now())
	if err != nil {
		return nil, err
	}
	if state == disabled {
		v.State = disabled
	}
	return v.proto(n, k), s.save()
}

// GetCryptoKeyVersion returns a version.
func (s *Service) GetCryptoKeyVersion(_ context.Context,
	req *kmspb.GetCryptoKeyVersionRequest) (*kmspb.CryptoKeyVersion, error) {
	n, err := expect(req.GetName(), keyVersion)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k, v, err := s.findVersion(n)
	if err != nil {
		return nil, err
	}
	return v.proto(n, k), nil
}

// UpdateCryptoKeyVersion enables or disables a version. Source: service.proto: state may be changed
// between ENABLED and DISABLED; the other states have methods of their own.
func (s *Service) UpdateCryptoKeyVersion(
	_ context.Context, req *kmspb.UpdateCryptoKeyVersionRequest,
) (*kmspb.CryptoKeyVersion, error) {
	want := req.GetCryptoKeyVersion().GetState()
	if paths := req.GetUpdateMask().GetPaths(); !slices.Equal(paths, []string{"state"}) {
		return nil, invalid("update_mask must be \"state\".")
	}
	if want != enabled && want != disabled {
		return nil, invalid("The state of a version can be set to ENABLED or DISABLED, not to %s.", want)
	}
	return s.move(req.GetCryptoKeyVersion().GetName(), func(v *version, _ *key) { v.State = want }, enabled, disabled)
}

// DestroyCryptoKeyVersion schedules a version for destruction. Sources: service.proto;
// cloud.google.com/kms/docs/key-states: from enabled or disabled only.
func (s *Service) DestroyCryptoKeyVersion(
	_ context.Context, req *kmspb.DestroyCryptoKeyVersionRequest,
) (*kmspb.CryptoKeyVersion, error) {
	return s.move(req.GetName(), func(v *version, k *key) {
		v.State, v.Destroy = scheduled, s.o.Now().Add(k.DestroyAfter)
	}, enabled, disabled)
}

// RestoreCryptoKeyVersion cancels that. Source: service.proto: the state is DISABLED afterwards,
// and destroy_time cleared.
func (s *Service) RestoreCryptoKeyVersion(
	_ context.Context, req *kmspb.RestoreCryptoKeyVersionRequest,
) (*kmspb.CryptoKeyVersion, error) {
	return s.move(req.GetName(), func(v *version, _ *key) {
		v.State, v.Destroy = disabled, time.Time{}
	}, scheduled)
}

// move changes the state of a version that is in one of the states from.
func (s *Service) move(
	text string, change func(*version, *key), from ...kmspb.CryptoKeyVersion_CryptoKeyVersionState,
) (*kmspb.CryptoKeyVersion, error) {
	n, err := expect(text, keyVersion)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k, v, err := s.findVersion(n)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(from, v.State) {
		return nil, unfit(n, v.State.String(), "crypto_key_version.state")
	}
	change(v, k)
	return v.proto(n, k), s.save()
}
