package gcpkms

import (
	"context"
	"maps"
	"slices"
	"strings"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// CreateKeyRing makes a key ring in a location.
func (s *Service) CreateKeyRing(_ context.Context, req *kmspb.CreateKeyRingRequest) (*kmspb.KeyRing, error) {
	n, err := expect(req.GetParent(), location)
	if err != nil {
		return nil, err
	}
	if !idForm.MatchString(req.GetKeyRingId()) {
		return nil, invalid("KeyRing ID %.80q must match the regular expression [a-zA-Z0-9_-]{1,63}.",
			req.GetKeyRingId())
	}
	n.ring = req.GetKeyRingId()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rings[n.String()] != nil {
		return nil, status.Errorf(codes.AlreadyExists, "KeyRing %s already exists.", n)
	}
	r := &ring{Created: s.o.Now(), Keys: map[string]*key{}}
	s.rings[n.String()] = r
	return r.proto(n), s.save()
}

// GetKeyRing returns a key ring.
func (s *Service) GetKeyRing(_ context.Context, req *kmspb.GetKeyRingRequest) (*kmspb.KeyRing, error) {
	n, err := expect(req.GetName(), keyRing)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rings[n.String()]
	if r == nil {
		return nil, status.Errorf(codes.NotFound, "KeyRing %s not found.", n)
	}
	return r.proto(n), nil
}

func (r *ring) proto(n name) *kmspb.KeyRing {
	return &kmspb.KeyRing{Name: n.String(), CreateTime: timestamppb.New(r.Created)}
}

// ListKeyRings lists those of one location, page by page.
func (s *Service) ListKeyRings(_ context.Context, req *kmspb.ListKeyRingsRequest) (*kmspb.ListKeyRingsResponse, error) {
	n, err := expect(req.GetParent(), location)
	if err != nil {
		return nil, err
	}
	if err := plainList(req); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for text := range s.rings {
		if strings.HasPrefix(text, n.String()+"/") {
			names = append(names, text)
		}
	}
	slices.Sort(names)
	page, next, err := cut(names, req)
	if err != nil {
		return nil, err
	}
	out := &kmspb.ListKeyRingsResponse{NextPageToken: next, TotalSize: int32(len(names))}
	for _, text := range page {
		of, _ := parse(text)
		out.KeyRings = append(out.KeyRings, s.rings[text].proto(of))
	}
	return out, nil
}

// ListCryptoKeys lists the keys of one ring, page by page.
func (s *Service) ListCryptoKeys(_ context.Context, req *kmspb.ListCryptoKeysRequest) (*kmspb.ListCryptoKeysResponse,
	error) {
	n, err := expect(req.GetParent(), keyRing)
	if err != nil {
		return nil, err
	}
	if err := plainList(req); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rings[n.String()]
	if r == nil {
		return nil, status.Errorf(codes.NotFound, "KeyRing %s not found.", n)
	}
	ids := slices.Sorted(maps.Keys(r.Keys))
	page, next, err := cut(ids, req)
	if err != nil {
		return nil, err
	}
	out := &kmspb.ListCryptoKeysResponse{NextPageToken: next, TotalSize: int32(len(ids))}
	for _, id := range page {
		n.key = id
		k, err := s.findKey(n)
		if err != nil {
			return nil, err
		}
		out.CryptoKeys = append(out.CryptoKeys, k.proto(n))
	}
	return out, nil
}

// ListCryptoKeyVersions lists the versions of one key, page by page.
func (s *Service) ListCryptoKeyVersions(_ context.Context,
	req *kmspb.ListCryptoKeyVersionsRequest) (*kmspb.ListCryptoKeyVersionsResponse, error) {
	n, err := expect(req.GetParent(), cryptoKey)
	if err != nil {
		return nil, err
	}
	if err := plainList(req); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.findKey(n)
	if err != nil {
		return nil, err
	}
	page, next, err := cut(k.Versions, req)
	if err != nil {
		return nil, err
	}
	out := &kmspb.ListCryptoKeyVersionsResponse{NextPageToken: next, TotalSize: int32(len(k.Versions))}
	for _, v := range page {
		out.CryptoKeyVersions = append(out.CryptoKeyVersions, v.proto(n, k))
	}
	return out, nil
}
