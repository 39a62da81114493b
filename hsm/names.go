package hsm

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// The mechanisms for a KeySpec.
const (
	AESGCM     = ck.MechAESGCM
	AESCBCPad  = ck.MechAESCBCPad
	RSAOAEP    = ck.MechRSAOAEP
	SHA256HMAC = ck.MechSHA256HMAC
	HashSHA1   = ck.MechSHA1 // of a KeySpec.OAEPHash and a Sealed.Hash
)

var mechanismNames = map[uint]string{
	ck.MechAESGCM: "CKM_AES_GCM", ck.MechAESCBCPad: "CKM_AES_CBC_PAD", ck.MechAESCBC: "CKM_AES_CBC",
	ck.MechRSAOAEP: "CKM_RSA_PKCS_OAEP", ck.MechRSAPKCS: "CKM_RSA_PKCS",
	ck.MechSHA256HMAC: "CKM_SHA256_HMAC", ck.MechSHA384HMAC: "CKM_SHA384_HMAC", ck.MechSHA512HMAC: "CKM_SHA512_HMAC",
	ck.MechSHA1: "CKM_SHA_1", ck.MechSHA224: "CKM_SHA224", ck.MechSHA256: "CKM_SHA256", ck.MechSHA384: "CKM_SHA384",
	ck.MechSHA512: "CKM_SHA512",
}

// MechanismName returns the mechanism's name in the standard, or its number.
func MechanismName(m uint) string {
	if name, known := mechanismNames[m]; known {
		return name
	}
	return fmt.Sprintf("0x%x", m)
}

// ParseMechanism parses a mechanism's name, with or without CKM_, or its number.
func ParseMechanism(text string) (uint, error) {
	name := strings.ToUpper(strings.TrimSpace(text))
	for _, m := range slices.Sorted(maps.Keys(mechanismNames)) {
		if full := mechanismNames[m]; name == full || "CKM_"+name == full {
			return m, nil
		}
	}
	n, err := strconv.ParseUint(name, 0, 32)
	if err != nil {
		return 0, fmt.Errorf("%w: %q is neither a supported mechanism nor a number", ErrConfig, text)
	}
	return uint(n), nil
}

// ParseHash parses the name of an OAEP hash: sha256, ...
func ParseHash(text string) (uint, error) {
	switch strings.ToLower(strings.ReplaceAll(text, "-", "")) {
	case "sha1":
		return ck.MechSHA1, nil
	case "sha224":
		return ck.MechSHA224, nil
	case "sha256":
		return ck.MechSHA256, nil
	case "sha384":
		return ck.MechSHA384, nil
	case "sha512":
		return ck.MechSHA512, nil
	}
	return 0, fmt.Errorf("%w: %q is not a hash for OAEP: use sha256, sha384, sha512, sha224 or sha1", ErrConfig, text)
}
