package cert

import (
	"crypto"
	_ "crypto/sha1" // identifiers of OCSP: not a signature
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"time"
)

// certID is the CertID of RFC 6960, section 4.1.1.
type certID struct {
	Hash     pkix.AlgorithmIdentifier
	NameHash []byte
	KeyHash  []byte
	Serial   *big.Int
}

// hash returns the hash function of the identifier; one that is not available for unknown ones.
func (c *certID) hash() crypto.Hash {
	switch c.Hash.Algorithm.String() {
	case "1.3.14.3.2.26":
		return crypto.SHA1
	case "2.16.840.1.101.3.4.2.1":
		return crypto.SHA256
	case "2.16.840.1.101.3.4.2.2":
		return crypto.SHA384
	case "2.16.840.1.101.3.4.2.3":
		return crypto.SHA512
	}
	return 0
}

// certIDs returns the identifiers in the signed part of an answer.
func certIDs(data []byte) ([]certID, error) {
	var outer struct {
		Version   int `asn1:"optional,default:0,explicit,tag:0"`
		Responder asn1.RawValue
		Produced  time.Time `asn1:"generalized"`
		Responses []asn1.RawValue
	}
	if _, err := asn1.Unmarshal(data, &outer); err != nil {
		return nil, err
	}
	var ids []certID
	for _, r := range outer.Responses {
		var id certID
		if _, err := asn1.Unmarshal(r.Bytes, &id); err != nil { // the first member of the SingleResponse
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}
