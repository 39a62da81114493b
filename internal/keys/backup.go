package keys

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strconv"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
)

// A backup is, in base64, the JSON that OpenBao and Vault make of a key: either's backups can be
// restored here, and OpenBao can restore ours. What they do not know is in members of our own.
type backup struct {
	Policy  policyJSON  `json:"policy"`
	Archive archiveJSON `json:"archived_keys"`
}

type archiveJSON struct {
	Keys []entryJSON `json:"keys"` // from archive_min_version on; the first of all is an empty one for version 0
}

type policyJSON struct {
	Name          string               `json:"name"`
	KeySize       int                  `json:"key_size,omitempty"`
	Keys          map[string]entryJSON `json:"keys"`
	Derived       bool                 `json:"derived"`
	KDF           int                  `json:"kdf"`
	Convergent    bool                 `json:"convergent_encryption"`
	Exportable    bool                 `json:"exportable"`
	MinDecryption int                  `json:"min_decryption_version"`
	MinEncryption int                  `json:"min_encryption_version"`
	Latest        int                  `json:"latest_version"`
	ArchiveLatest int                  `json:"archive_version"`
	ArchiveFrom   int                  `json:"archive_min_version"`
	MinAvailable  int                  `json:"min_available_version"`
	Deletable     bool                 `json:"deletion_allowed"`
	ConvergentV   int                  `json:"convergent_version"`
	Type          int                  `json:"type"`
	Backup        *eventJSON           `json:"backup_info"`
	Restored      *eventJSON           `json:"restore_info"`
	Plaintext     bool                 `json:"allow_plaintext_backup"`
	Template      string               `json:"version_template"`
	Prefix        string               `json:"storage_prefix"`
	AutoRotate    int64                `json:"auto_rotate_period"` // nanoseconds
	Imported      bool                 `json:"Imported"`
	Rotation      bool                 `json:"AllowImportedKeyRotation"`
	SoftDeleted   bool                 `json:"soft_deleted"`

	OurType      string `json:"sealgate_type,omitempty"` // of a type that OpenBao lacks
	ParameterSet int    `json:"sealgate_parameter_set,omitempty"`
}

type eventJSON struct {
	Time    time.Time `json:"time"`
	Version int       `json:"version"`
}

type entryJSON struct {
	Key          []byte    `json:"key"` // raw; of Ed25519 seed and public key
	HMACKey      []byte    `json:"hmac_key"`
	Time         time.Time `json:"time"`
	X            *big.Int  `json:"ec_x"`
	Y            *big.Int  `json:"ec_y"`
	D            *big.Int  `json:"ec_d"`
	RSA          *rsaJSON  `json:"rsa_key"`
	RSAPublic    *rsaJSON  `json:"rsa_public_key"`
	Public       string    `json:"public_key"` // PEM of ECDSA, base64 of Ed25519
	ConvergentV  int       `json:"convergent_version"`
	CreationTime int64     `json:"creation_time"`
	Chain        [][]byte  `json:"certificate_chain"`
	ExternalRef  string    `json:"external_key_ref"`
}

// rsaJSON is how package rsa's keys look in JSON.
type rsaJSON struct {
	N      *big.Int
	E      int
	D      *big.Int   `json:",omitempty"`
	Primes []*big.Int `json:",omitempty"`
}

// backupTypes are OpenBao's numbers of the types. Vault's are the same up to 9.
var backupTypes = map[int]Type{
	0: AES256GCM, 1: ECDSAP256, 2: Ed25519, 3: RSA2048, 4: RSA4096, 5: ChaCha20Poly1305, 6: ECDSAP384,
	7: ECDSAP521, 8: AES128GCM,
	9: RSA3072, 10: HMAC, 11: XChaCha20Poly1305,
}

// vaultHMAC is Vault's number of HMAC, which is OpenBao's of XChaCha20-Poly1305: only HMAC has a
// key size.
const vaultHMAC = 11

func backupType(t Type) (int, string) {
	for n, other := range backupTypes {
		if other == t {
			return n, ""
		}
	}
	return 255, t.String()
}

// Backup gives the backup of a key, and notes in the key that one was made. The texts of refusals
// are OpenBao's.
func (s *Store) Backup(ctx context.Context, name string) (string, error) {
	var out string
	_, err := s.Change(ctx, name, func(ctx context.Context, c *Change) error {
		switch {
		case c.SoftDeleted:
			return ErrSoftDeleted
		case !c.Exportable:
			return Errors("exporting is disallowed on the policy")
		case !c.AllowPlaintextBackup:
			return Errors("plaintext backup is disallowed on the policy")
		}
		c.Backup = Event{At: s.now().UnixNano(), Version: c.Latest}
		b, err := c.key.toJSON(ctx, c.Settings)
		if err != nil {
			return err
		}
		raw, err := json.Marshal(b)
		if err != nil {
			return fmt.Errorf("keys: encoding a backup: %w", err)
		}
		defer clear(raw)
		out = base64.StdEncoding.EncodeToString(raw)
		return nil
	})
	return out, err
}

func (k *Key) toJSON(ctx context.Context, s Settings) (*backup, error) {
	b := &backup{Policy: policyJSON{
		Name: k.Name, KeySize: s.KeySize, Keys: map[string]entryJSON{}, Derived: s.Derived, Convergent: s.Convergent,
		Exportable: s.Exportable, MinDecryption: s.MinDecryption, MinEncryption: s.MinEncryption, Latest: s.Latest,
		ArchiveLatest: s.Latest, ArchiveFrom: s.MinAvailable, MinAvailable: s.MinAvailable, Deletable: s.DeletionAllowed,
		Backup: s.Backup.json(), Restored: s.Restored.json(), Plaintext: s.AllowPlaintextBackup,
		AutoRotate: int64(s.AutoRotate),
		Imported:   s.Imported, Rotation: s.ImportedRotation, SoftDeleted: s.SoftDeleted, ParameterSet: s.ParameterSet,
	}}
	b.Policy.Type, b.Policy.OurType = backupType(s.Type)
	if s.Derived {
		b.Policy.KDF = 1 // HKDF-SHA256
	}
	if s.Convergent {
		b.Policy.ConvergentV = -1
	}
	if s.MinAvailable == 0 {
		b.Archive.Keys = append(b.Archive.Keys, entryJSON{})
	}
	for n := max(s.MinAvailable, 1); n <= s.Latest; n++ {
		v, err := k.Version(ctx, n)
		if err != nil {
			return nil, err
		}
		e, err := k.entryJSON(v)
		if err != nil {
			return nil, err
		}
		if s.Convergent {
			e.ConvergentV = 3
		}
		b.Archive.Keys = append(b.Archive.Keys, e)
		if n >= s.MinDecryption {
			b.Policy.Keys[strconv.Itoa(n)] = e
		}
	}
	return b, nil
}

func (e Event) json() *eventJSON {
	if e == (Event{}) {
		return nil
	}
	return &eventJSON{time.Unix(0, e.At).UTC(), e.Version}
}

func (e *eventJSON) event() Event {
	if e == nil {
		return Event{}
	}
	return Event{e.Time.UnixNano(), e.Version}
}

func (k *Key) entryJSON(v *Version) (e entryJSON, err error) {
	if v.Provider != Software {
		return e, Errors("version %d is held by the provider %q and cannot leave it", v.Number, v.Provider)
	}
	ref, err := parseSoftReference(v.Material.Reference.Expose())
	if err != nil {
		return e, err
	}
	e = entryJSON{HMACKey: ref.hmac, Time: v.Created, CreationTime: v.Created.Unix(), Chain: v.Chain}
	switch k.Type.traits().family {
	case ed25519Family:
		return e, e.setEd25519(ref.private, v.Material.Public)
	case ecdsaFamily:
		return e, e.setECDSA(ref.private, v.Material.Public)
	case rsaFamily:
		return e, e.setRSA(ref.private, v.Material.Public)
	case mldsaFamily:
		e.Public = base64.StdEncoding.EncodeToString(v.Material.Public)
	}
	e.Key = ref.private
	return e, nil
}

func (e *entryJSON) setEd25519(seed, public []byte) error {
	if len(seed) == 0 {
		_, pub, err := parsed[ed25519.PublicKey](nil, public)
		e.Public = base64.StdEncoding.EncodeToString(pub)
		return err
	}
	k := ed25519.NewKeyFromSeed(seed)
	e.Key, e.Public = k, base64.StdEncoding.EncodeToString(k[ed25519.SeedSize:])
	return nil
}

func (e *entryJSON) setECDSA(private, public []byte) error {
	signer, pub, err := parsed[*ecdsa.PublicKey](private, public)
	if err != nil {
		return err
	}
	point, err := pub.Bytes()
	if err != nil {
		return fmt.Errorf("keys: encoding a public key: %w", err)
	}
	size := (len(point) - 1) / 2
	e.X, e.Y = new(big.Int).SetBytes(point[1:1+size]), new(big.Int).SetBytes(point[1+size:])
	if k, ok := signer.(*ecdsa.PrivateKey); ok {
		d, err := k.Bytes()
		if err != nil {
			return fmt.Errorf("keys: encoding a private key: %w", err)
		}
		defer clear(d)
		e.D = new(big.Int).SetBytes(d)
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return fmt.Errorf("keys: encoding a public key: %w", err)
	}
	e.Public = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	return nil
}

func (e *entryJSON) setRSA(private, public []byte) error {
	signer, pub, err := parsed[*rsa.PublicKey](private, public)
	if err != nil {
		return err
	}
	if k, ok := signer.(*rsa.PrivateKey); ok {
		e.RSA = &rsaJSON{k.N, k.E, k.D, k.Primes}
	} else {
		e.RSAPublic = &rsaJSON{N: pub.N, E: pub.E}
	}
	return nil
}

// errBackup is for what cannot be a backup. It does not show what was given.
func errBackup(why string) error {
	return Errors("the backup cannot be restored: %s", why)
}

const maxBackup = 64 << 20

// ParseBackup reads a backup. Nothing of it is believed before it is checked.
func ParseBackup(text string) (*Backup, error) {
	if len(text) > maxBackup {
		return nil, fault.New(fault.TooLarge, "the backup has more than %d bytes", maxBackup)
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, Errors("%s", err) // names the position alone
	}
	defer clear(raw)
	if longNumber(raw) {
		return nil, errBackup("it has a number that is too long for a key")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	var b backup
	if err := d.Decode(&b); err != nil {
		return nil, errBackup("it is not the JSON of a key")
	}
	return b.parse()
}

// maxDigits is more than a modulus of the largest RSA type has: 4096 bits are 1234 digits.
const maxDigits = 2500

// longNumber reports whether a text has a longer run of digits. Reading a decimal number takes time
// that grows with the square of its length: one of 4 MB takes a minute.
func longNumber(text []byte) bool {
	run := 0
	for _, c := range text {
		if run++; c < '0' || c > '9' {
			run = 0
		}
		if run > maxDigits {
			return true
		}
	}
	return false
}

// Backup is a key that was read from a backup.
type Backup struct {
	Name     string
	settings Settings
	versions []*Version // from the first available on
}

func (b *backup) parse() (*Backup, error) {
	p := &b.Policy
	t, known := backupTypes[p.Type]
	if p.Type == vaultHMAC && p.KeySize > 0 {
		t = HMAC
	}
	if p.OurType != "" {
		var err error
		if t, err = ParseType(p.OurType); err != nil {
			return nil, err
		}
		known = true
	}
	if !known {
		return nil, errBackup(fmt.Sprintf("the key's type has the number %d, which is unknown", p.Type))
	}
	s := Settings{
		Spec: Spec{Type: t, Derived: p.Derived, Convergent: p.Convergent, KeySize: p.KeySize,
			ParameterSet: p.ParameterSet},
		Exportable: p.Exportable, AllowPlaintextBackup: p.Plaintext, DeletionAllowed: p.Deletable, Imported: p.Imported,
		ImportedRotation: p.Rotation, SoftDeleted: p.SoftDeleted, Latest: p.Latest, MinAvailable: p.MinAvailable,
		MinDecryption: max(p.MinDecryption, 1), MinEncryption: p.MinEncryption, AutoRotate: time.Duration(p.AutoRotate),
		Backup: p.Backup.event(), Restored: p.Restored.event(),
	}
	switch {
	case p.Derived && p.KDF != 1:
		return nil, errBackup("its keys are derived by HMAC counter mode, which OpenBao gave up long ago")
	case s.Check() != nil:
		return nil, s.Check()
	case s.Latest < 1 || s.Latest > maxVersion || s.MinAvailable < 0 || s.MinAvailable > s.Latest ||
		s.MinDecryption > s.Latest ||
		s.MinEncryption < 0 || s.MinEncryption > s.Latest || s.AutoRotate < 0:
		return nil, errBackup("its version numbers contradict each other")
	}
	out := &Backup{Name: p.Name, settings: s}
	for n := max(s.MinAvailable, 1); n <= s.Latest; n++ {
		e, ok := b.entry(n)
		if !ok {
			return nil, errBackup(fmt.Sprintf("version %d is missing", n))
		}
		v, err := e.version(s.Spec, n)
		if err != nil {
			return nil, err
		}
		out.versions = append(out.versions, v)
	}
	return out, nil
}

func (b *backup) entry(n int) (entryJSON, bool) {
	if i := n - b.Policy.ArchiveFrom; i >= 0 && i < len(b.Archive.Keys) {
		return b.Archive.Keys[i], true
	}
	e, ok := b.Policy.Keys[strconv.Itoa(n)]
	return e, ok
}

func (e *entryJSON) version(s Spec, n int) (*Version, error) {
	if s.Convergent && e.ConvergentV != 3 {
		return nil,
			errBackup(fmt.Sprintf("version %d encrypts convergently in the form %d; only 3 can be used: rewrap where it is from",
				n, e.ConvergentV))
	}
	private, public, err := e.material(s, n)
	if err != nil {
		return nil, err
	}
	defer clear(private)
	mac := e.HMACKey
	if s.Type == HMAC {
		mac = private
	}
	if len(mac) < hmacKeySize || len(mac) > maxHMACKey {
		return nil, errBackup(fmt.Sprintf("version %d has no HMAC key", n))
	}
	ref, err := softReference{mac, private}.marshal()
	if err != nil {
		return nil, err
	}
	at := e.Time
	if at.IsZero() {
		at = time.Unix(e.CreationTime, 0)
	}
	if s.Derived {
		public = nil
	}
	v := &Version{Number: n, Created: at.UTC(), Provider: Software, Material: Material{Reference: ref, Public: public},
		Chain: e.Chain}
	for _, c := range v.Chain {
		if _, err := x509.ParseCertificate(c); err != nil {
			return nil, errBackup(fmt.Sprintf("version %d has a certificate that is none", n))
		}
	}
	return v, nil
}

// material gives the key of a version as it is stored, checked against its type.
func (e *entryJSON) material(s Spec, n int) (private, public []byte, err error) {
	bad := errBackup(fmt.Sprintf("version %d is not a key of type %s", n, s.Type))
	switch s.Type.traits().family {
	case ed25519Family:
		return e.ed25519(bad)
	case ecdsaFamily:
		return e.ecdsa(s, bad)
	case rsaFamily:
		return e.rsa(s, bad)
	case mldsaFamily:
		public, err = base64.StdEncoding.DecodeString(e.Public)
		scheme, unknown := mldsaScheme(s.ParameterSet)
		if err != nil || unknown != nil || len(e.Key) != scheme.SeedSize() && len(e.Key) != 0 ||
			len(public) != scheme.PublicKeySize() {
			return nil, nil, bad
		}
	default:
		if len(e.Key) != s.materialSize() {
			return nil, nil, bad
		}
	}
	return bytes.Clone(e.Key), public, nil
}

func (e *entryJSON) ed25519(bad error) (private, public []byte, err error) {
	pub, err := base64.StdEncoding.DecodeString(e.Public)
	if len(e.Key) == ed25519.PrivateKeySize {
		k := ed25519.NewKeyFromSeed(e.Key[:ed25519.SeedSize])
		if !bytes.Equal(k, e.Key) {
			return nil, nil, bad
		}
		private, pub, err = k.Seed(), k[ed25519.SeedSize:], nil
	}
	if err != nil || len(pub) != ed25519.PublicKeySize {
		return nil, nil, bad
	}
	public, err = x509.MarshalPKIXPublicKey(ed25519.PublicKey(pub))
	return private, public, err
}

func (e *entryJSON) ecdsa(s Spec, bad error) (private, public []byte, err error) {
	curve := s.Type.traits().curve
	size := coordinate(curve)
	fits := func(i *big.Int) bool { return i != nil && i.Sign() >= 0 && i.BitLen() <= 8*size }
	if e.D != nil && e.D.Sign() != 0 {
		if !fits(e.D) {
			return nil, nil, bad
		}
		d := e.D.FillBytes(make([]byte, size))
		defer clear(d)
		k, err := ecdsa.ParseRawPrivateKey(curve, d)
		if err != nil {
			return nil, nil, bad
		}
		return marshalPair(k)
	}
	if !fits(e.X) || !fits(e.Y) {
		return nil, nil, bad
	}
	point := append([]byte{4}, make([]byte, 2*size)...)
	e.X.FillBytes(point[1 : 1+size])
	e.Y.FillBytes(point[1+size:])
	pub, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, nil, bad
	}
	public, err = x509.MarshalPKIXPublicKey(pub)
	return nil, public, err
}

func (e *entryJSON) rsa(s Spec, bad error) (private, public []byte, err error) {
	bits := s.Type.traits().bits
	r := e.RSA
	if r == nil {
		r = e.RSAPublic
	}
	if r == nil || r.N == nil || r.N.Sign() <= 0 || r.N.BitLen() != bits || r.E < 3 {
		return nil, nil, bad
	}
	pub := rsa.PublicKey{N: r.N, E: r.E}
	if e.RSA == nil {
		public, err = x509.MarshalPKIXPublicKey(&pub)
		return nil, public, err
	}
	if r.D == nil || r.D.Sign() <= 0 || r.D.BitLen() > bits || len(r.Primes) != 2 {
		return nil, nil, bad
	}
	for _, p := range r.Primes {
		if p == nil || p.Sign() <= 0 || p.BitLen() > bits {
			return nil, nil, bad
		}
	}
	k := &rsa.PrivateKey{PublicKey: pub, D: r.D, Primes: r.Primes}
	if k.Validate() != nil {
		return nil, nil, bad
	}
	k.Precompute()
	return marshalPair(k)
}
