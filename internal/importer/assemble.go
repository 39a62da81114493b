package importer

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// convergentVersion is the form of convergent encryption that Vault has used since 0.10.3.
const convergentVersion = 3

// keyBackup is the JSON of a transit backup, with the members that an export can fill. Its form is
// Vault's; sealgate_type names the type, whose number differs between Vault and OpenBao.
type keyBackup struct {
	Policy  keyPolicy `json:"policy"`
	Archive struct {
		Keys []keyVersion `json:"keys"`
	} `json:"archived_keys"`
}

type keyPolicy struct {
	Name          string                `json:"name"`
	Type          string                `json:"sealgate_type"`
	KeySize       int                   `json:"key_size,omitempty"`
	Keys          map[string]keyVersion `json:"keys"`
	Derived       bool                  `json:"derived"`
	KDF           int                   `json:"kdf"` // 1: HKDF with SHA-256
	Convergent    bool                  `json:"convergent_encryption"`
	Exportable    bool                  `json:"exportable"`
	Backup        bool                  `json:"allow_plaintext_backup"`
	MinDecryption int                   `json:"min_decryption_version"`
	MinEncryption int                   `json:"min_encryption_version"`
	Latest        int                   `json:"latest_version"`
	ArchiveFrom   int                   `json:"archive_min_version"`
	MinAvailable  int                   `json:"min_available_version"`
	Deletable     bool                  `json:"deletion_allowed"`
	AutoRotate    int64                 `json:"auto_rotate_period"` // nanoseconds
	Imported      bool                  `json:"Imported"`
	Rotation      bool                  `json:"AllowImportedKeyRotation"`
}

type keyVersion struct {
	Key         []byte    `json:"key,omitempty"`
	HMACKey     []byte    `json:"hmac_key"`
	Time        time.Time `json:"time"`
	D           *big.Int  `json:"ec_d,omitempty"`
	RSA         *rsaKey   `json:"rsa_key,omitempty"`
	ConvergentV int       `json:"convergent_version,omitempty"`
	Chain       [][]byte  `json:"certificate_chain,omitempty"`
}

type rsaKey struct {
	N      *big.Int
	E      int
	D      *big.Int
	Primes []*big.Int
}

// exportKinds are the exports that hold all of a key: its material, and its key for HMACs.
func exportKinds(keyType string) []string {
	switch {
	case keyType == "hmac":
		return []string{"hmac-key"}
	case strings.HasSuffix(keyType, "-cmac"):
		return []string{"cmac-key", "hmac-key"}
	case strings.HasPrefix(keyType, "ecdsa-"), keyType == "ed25519", strings.HasPrefix(keyType, "ml-dsa"):
		return []string{"signing-key", "hmac-key"}
	}
	return []string{"encryption-key", "hmac-key"}
}

// assemble makes a backup from the exports of a key.
func (k *keyCopy) assemble(ctx context.Context) (string, error) {
	w := k.want
	kinds := exportKinds(w.Type)
	material, err := k.export(ctx, k.from, kinds[0])
	if err != nil {
		return "", err
	}
	hmacs, err := k.export(ctx, k.from, kinds[len(kinds)-1])
	if err != nil {
		return "", err
	}
	first := max(w.MinAvailable, 1)
	if lost := max(w.MinDecryption, 1); lost > first { // an export has no archived versions
		k.item.Notes = append(k.item.Notes, fmt.Sprintf("versions below min_decryption_version %d are not exported, and are "+
			"lost", lost))
		first = lost
	}
	seconds, err := w.AutoRotate.Int64()
	if w.AutoRotate != "" && err != nil {
		return "", errMaterial(w.Latest)
	}
	b := keyBackup{Policy: keyPolicy{Name: k.name, Type: w.Type, KeySize: w.KeySize, Keys: map[string]keyVersion{},
		Derived: w.Derived, Convergent: w.Convergent, Exportable: true, Backup: w.Backup, MinDecryption: w.MinDecryption,
		MinEncryption: w.MinEncryption, Latest: w.Latest, ArchiveFrom: first, MinAvailable: first, Deletable: w.Deletable,
		AutoRotate: seconds * int64(time.Second), Imported: w.Imported, Rotation: w.Rotation}}
	if first == 1 {
		b.Policy.MinAvailable = w.MinAvailable
	}
	if w.Derived {
		b.Policy.KDF = 1
	}
	for n := first; n <= w.Latest; n++ {
		number := strconv.Itoa(n)
		v, err := k.version(number, material[number], hmacs[number])
		if err != nil {
			return "", errMaterial(n)
		}
		b.Policy.Keys[number] = v
		b.Archive.Keys = append(b.Archive.Keys, v)
	}
	raw, err := json.Marshal(b)
	defer clear(raw)
	if err != nil {
		return "", fmt.Errorf("encoding a backup: %w", err)
	}
	return base64.StdEncoding.EncodeToString(raw), nil
}

// errMaterial does not show what was exported.
func errMaterial(n int) error {
	return left("the export of version %d is missing, or has an unexpected form", n)
}

var errForm = errors.New("unexpected form")

func (k *keyCopy) version(number, material, mac string) (v keyVersion, err error) {
	if v.HMACKey, err = base64.StdEncoding.DecodeString(mac); err != nil || len(v.HMACKey) == 0 {
		return v, errForm
	}
	if k.want.Convergent {
		v.ConvergentV = convergentVersion
	}
	v.Time, v.Chain = k.described(number)
	if !strings.HasPrefix(material, "-----BEGIN") {
		v.Key, err = base64.StdEncoding.DecodeString(material)
		if len(v.Key) == 0 {
			err = errForm
		}
		return v, err
	}
	block, _ := pem.Decode([]byte(material))
	if block == nil {
		return v, errForm
	}
	defer clear(block.Bytes)
	return v, v.setPrivate(block)
}

func (v *keyVersion) setPrivate(block *pem.Block) error {
	parsed, err := parsePrivate(block)
	if err != nil {
		return errForm
	}
	switch p := parsed.(type) {
	case *ecdsa.PrivateKey:
		d, err := p.Bytes()
		if err != nil {
			return errForm
		}
		defer clear(d)
		v.D = new(big.Int).SetBytes(d)
		return nil
	case *rsa.PrivateKey:
		v.RSA = &rsaKey{p.N, p.E, p.D, p.Primes}
		return nil
	}
	return errForm
}

func parsePrivate(block *pem.Block) (any, error) {
	switch block.Type {
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	return x509.ParsePKCS8PrivateKey(block.Bytes)
}

// described returns when a version was made, and its certificates, as the key's description shows
// them.
func (k *keyCopy) described(number string) (at time.Time, chain [][]byte) {
	at = k.Now().UTC()
	var seconds int64
	var public struct {
		Created time.Time `json:"creation_time"`
		Chain   string    `json:"certificate_chain"`
	}
	raw := k.want.Keys[number]
	switch {
	case json.Unmarshal(raw, &seconds) == nil:
		at = time.Unix(seconds, 0).UTC()
	case json.Unmarshal(raw, &public) == nil:
		at = public.Created
		for rest := []byte(public.Chain); ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			chain = append(chain, block.Bytes)
		}
	}
	return at, chain
}
