package gcpkms

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Sources: EncryptRequest.plaintext and additional_authenticated_data in service.proto.
const (
	maxField = 64 << 10 // each, for keys in software
	maxHSM   = 8 << 10  // both together, for keys in an HSM
)

// A ciphertext is opaque to clients (cloud.google.com/kms/docs/encrypt-decrypt); the version that
// made it is encoded in it. Here:
//
//	0x0a 0x24  hint of the version, 36 bytes, the first of them 0
//	0x12 len   uvarint; then nonce (12 bytes), AES-256-GCM ciphertext and tag
//
// which has the form of real ciphertexts. The bytes before the nonce are authenticated together
// with the caller's data.
const (
	hintLen   = 36
	nonceLen  = 12
	tagLen    = 16
	maxSealed = maxField + hintLen + nonceLen + tagLen + 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) *wrapperspb.Int64Value {
	return wrapperspb.Int64(int64(crc32.Checksum(b, castagnoli)))
}

// verify compares a checksum with its field, and reports whether there was one.
//
// Source: cloud.google.com/kms/docs/data-integrity-guidelines: INVALID_ARGUMENT where they differ;
// verified_* confirms that it was received.
func verify(field string, data []byte, sum *wrapperspb.Int64Value) (bool, error) {
	if sum == nil {
		return false, nil
	}
	if sum.GetValue() != checksum(data).GetValue() {
		return false, invalid("The checksum in field %s_crc32c did not match the data in field %s.", field, field)
	}
	return true, nil
}

// Encrypt encrypts with the primary version of a key, or with the version that is named.
func (s *Service) Encrypt(_ context.Context, req *kmspb.EncryptRequest) (*kmspb.EncryptResponse, error) {
	n, err := expect(req.GetName(), keyOrVersion)
	if err != nil {
		return nil, err
	}
	plain, aad := req.GetPlaintext(), req.GetAdditionalAuthenticatedData()
	if len(plain) == 0 {
		// source: google.api.field_behavior REQUIRED, google.aip.dev/203
		return nil, invalid("The plaintext is required.")
	}
	plainOK, err := verify("plaintext", plain, req.GetPlaintextCrc32C())
	if err != nil {
		return nil, err
	}
	aadOK, err := verify("additional_authenticated_data", aad, req.GetAdditionalAuthenticatedDataCrc32C())
	if err != nil {
		return nil, err
	}
	level, v, err := s.encrypting(n)
	if err != nil {
		return nil, err
	}
	switch {
	case level == kmspb.ProtectionLevel_HSM && len(plain)+len(aad) > maxHSM:
		return nil, invalid("The plaintext and additional_authenticated_data are %d bytes; with an HSM key at most "+
			"%d are allowed.",
			len(plain)+len(aad), maxHSM)
	case len(plain) > maxField || len(aad) > maxField:
		return nil, invalid("The plaintext and the additional_authenticated_data must be no larger than %d bytes.",
			maxField)
	}
	sealed, err := s.seal(v, plain, aad)
	if err != nil {
		return nil, err
	}
	n.version = v.id
	return &kmspb.EncryptResponse{
		Name: n.String(), Ciphertext: sealed, CiphertextCrc32C: checksum(sealed), ProtectionLevel: level,
		VerifiedPlaintextCrc32C: plainOK, VerifiedAdditionalAuthenticatedDataCrc32C: aadOK,
	}, nil
}

// encrypting finds the version that a request encrypts with; it is a copy, which outlives the lock.
func (s *Service) encrypting(n name) (kmspb.ProtectionLevel, version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.findKey(n)
	if err != nil {
		return 0, version{}, err
	}
	// Source: Encrypt and Decrypt in service.proto: the purpose must be ENCRYPT_DECRYPT.
	if k.Purpose != kmspb.CryptoKey_ENCRYPT_DECRYPT {
		return 0, version{}, unfit(n.ofKey(), k.Purpose.String(), "crypto_key.purpose")
	}
	if n.version == 0 {
		if n.version = k.Primary; n.version == 0 {
			return 0, version{}, status.Errorf(codes.FailedPrecondition, "CryptoKey %s has no primary version.", n)
		}
	}
	_, v, err := s.findVersion(n)
	if err != nil {
		return 0, version{}, err
	}
	return k.Level, *v, usable(n, v)
}

// usable: source: cloud.google.com/kms/docs/key-states: only an enabled version can be used, and a
// key whose primary is not enabled cannot encrypt.
func usable(n name, v *version) error {
	if v.State != enabled {
		n.version = v.id
		return status.Errorf(codes.FailedPrecondition, "%s is not enabled, current state is: %s.", n, v.State)
	}
	return nil
}

func (s *Service) seal(v version, plain, aad []byte) ([]byte, error) {
	nonce := make([]byte, nonceLen)
	if _, err := s.o.Rand.Read(nonce); err != nil {
		return nil, status.Error(codes.Internal, "no randomness")
	}
	out := append([]byte{0x0a, hintLen}, v.hint[:]...)
	out = append(out, 0x12)
	out = binary.AppendUvarint(out, uint64(nonceLen+len(plain)+tagLen))
	bound := append(bytes.Clone(out), aad...)
	return v.aead.Seal(append(out, nonce...), nonce, plain, bound), nil
}

// Decrypt decrypts what a version of the key encrypted. Source: DecryptRequest.name in
// service.proto: the server chooses the version.
func (s *Service) Decrypt(_ context.Context, req *kmspb.DecryptRequest) (*kmspb.DecryptResponse, error) {
	n, err := expect(req.GetName(), cryptoKey)
	if err != nil {
		return nil, err
	}
	sealed, aad := req.GetCiphertext(), req.GetAdditionalAuthenticatedData()
	if len(sealed) == 0 {
		return nil, invalid("The ciphertext is required.")
	}
	if _, err := verify("ciphertext", sealed, req.GetCiphertextCrc32C()); err != nil {
		return nil, err
	}
	if _, err := verify("additional_authenticated_data", aad, req.GetAdditionalAuthenticatedDataCrc32C()); err != nil {
		return nil, err
	}
	k, v, err := s.decrypting(n, sealed)
	if err != nil {
		return nil, err
	}
	plain, ok := v.unseal(sealed, aad)
	if !ok {
		// Source: cloud.google.com/kms/docs/additional-authenticated-data: other data than at
		// encryption, like a damaged ciphertext, fails with INVALID_ARGUMENT.
		return nil, invalid("Decryption failed: the ciphertext is invalid.")
	}
	return &kmspb.DecryptResponse{
		Plaintext: plain, PlaintextCrc32C: checksum(plain), UsedPrimary: k.Primary == v.id, ProtectionLevel: k.Level,
	}, nil
}

// decrypting finds the version that made a ciphertext; key and version are copies.
func (s *Service) decrypting(n name, sealed []byte) (key, version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.findKey(n)
	if err != nil {
		return key{}, version{}, err
	}
	if k.Purpose != kmspb.CryptoKey_ENCRYPT_DECRYPT {
		return key{}, version{}, unfit(n, k.Purpose.String(), "crypto_key.purpose")
	}
	if len(sealed) > maxSealed || len(sealed) < 2+hintLen || sealed[0] != 0x0a || sealed[1] != hintLen {
		return key{}, version{}, invalid("Decryption failed: the ciphertext is invalid.")
	}
	for _, v := range k.Versions {
		if bytes.Equal(v.hint[:], sealed[2:2+hintLen]) {
			return *k, *v, usable(n, v)
		}
	}
	return key{}, version{}, invalid("Decryption failed: verify that 'name' refers to the correct CryptoKey.")
}

func (v *version) unseal(sealed, aad []byte) ([]byte, bool) {
	rest := sealed[2+hintLen:]
	if len(rest) == 0 || rest[0] != 0x12 {
		return nil, false
	}
	n, size := binary.Uvarint(rest[1:])
	if size <= 0 || n != uint64(len(rest)-1-size) || n < nonceLen+tagLen {
		return nil, false
	}
	body := rest[1+size:]
	bound := append(bytes.Clone(sealed[:len(sealed)-len(body)]), aad...)
	plain, err := v.aead.Open(nil, body[:nonceLen], body[nonceLen:], bound)
	return plain, err == nil
}
