package cosign

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/sealgate/sealgate/recovery/transcript"
)

// SSH signatures have the format of ssh-keygen -Y (PROTOCOL.sshsig of OpenSSH).
const (
	// Namespace keeps signatures of other texts, such as git commits, from counting as ours.
	Namespace = "sealgate-transcript"

	sshMagic   = "SSHSIG"
	sshVersion = 1
	sshArmor   = "SSH SIGNATURE"
)

// sshBlob is a signature after the magic and the version.
type sshBlob struct {
	PublicKey, Namespace, Reserved, Hash string
	Signature                            string
}

// sshSigned is what the key signs, after the magic.
type sshSigned struct{ Namespace, Reserved, Hash, Digest string }

type sshParsed struct {
	key       ssh.PublicKey
	hash      string
	signature *ssh.Signature
}

func sshMessage(hash string, statement []byte) ([]byte, error) {
	var digest []byte
	switch hash {
	case "sha256":
		sum := sha256.Sum256(statement)
		digest = sum[:]
	case "sha512":
		sum := sha512.Sum512(statement)
		digest = sum[:]
	default:
		return nil, fmt.Errorf("%w: the hash of an SSH signature is sha256 or sha512", ErrSignature)
	}
	return append([]byte(sshMagic), ssh.Marshal(sshSigned{Namespace: Namespace, Hash: hash, Digest: string(digest)})...),
		nil
}

func parseSSH(armored string) (*sshParsed, error) {
	block, rest := pem.Decode([]byte(armored))
	if block == nil || block.Type != sshArmor || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("%w: it is not an armored SSH signature", ErrSignature)
	}
	blob, ok := bytes.CutPrefix(block.Bytes, append([]byte(sshMagic), 0, 0, 0, sshVersion))
	var b sshBlob
	if !ok || ssh.Unmarshal(blob, &b) != nil {
		return nil, fmt.Errorf("%w: it is not an SSH signature of version %d", ErrSignature, sshVersion)
	}
	if b.Namespace != Namespace {
		return nil, fmt.Errorf("%w: its namespace is %.40q; sign with ssh-keygen -Y sign -n %s", ErrSignature, b.Namespace,
			Namespace)
	}
	p := &sshParsed{hash: b.Hash, signature: new(ssh.Signature)}
	var err error
	if p.key, err = ssh.ParsePublicKey([]byte(b.PublicKey)); err != nil {
		return nil, fmt.Errorf("%w: its public key cannot be read: %w", ErrSignature, err)
	}
	if err := ssh.Unmarshal([]byte(b.Signature), p.signature); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	switch p.signature.Format {
	case ssh.KeyAlgoRSA, "ssh-dss":
		return nil, fmt.Errorf("%w: %s signs SHA-1, which is not accepted", ErrSignature, p.signature.Format)
	}
	return p, nil
}

func verifySSH(statement []byte, s transcript.CoSignature) (string, error) {
	p, err := parseSSH(s.Signature)
	if err != nil {
		return "", err
	}
	key, err := parseAuthorizedKey(s.PublicKey)
	if err != nil {
		return "", err
	}
	if !bytes.Equal(key.Marshal(), p.key.Marshal()) {
		return "", fmt.Errorf("%w: it is of another key than the one beside it", ErrSignature)
	}
	message, err := sshMessage(p.hash, statement)
	if err != nil {
		return "", err
	}
	if err := key.Verify(message, p.signature); err != nil {
		return "", fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return sshFingerprint(key), nil
}

func signSSH(statement, private []byte, passphrase func() ([]byte, error)) (string, error) {
	signer, err := ssh.ParsePrivateKey(private)
	var missing *ssh.PassphraseMissingError
	if errors.As(err, &missing) {
		var word []byte
		if word, err = passphrase(); err != nil {
			return "", err
		}
		defer clear(word)
		signer, err = ssh.ParsePrivateKeyWithPassphrase(private, word)
	}
	if err != nil {
		return "", fmt.Errorf("the file is neither an SSH nor an armored PGP private key, or the passphrase is wrong: %w",
			err)
	}
	return armorSSH(statement, signer)
}

// armorSSH signs as ssh-keygen -Y does.
func armorSSH(statement []byte, signer ssh.Signer) (string, error) {
	const hash = "sha512"
	message, err := sshMessage(hash, statement)
	if err != nil {
		return "", err
	}
	algorithm := ""
	if signer.PublicKey().Type() == ssh.KeyAlgoRSA {
		algorithm = ssh.KeyAlgoRSASHA512
	}
	as, ok := signer.(ssh.AlgorithmSigner)
	if !ok {
		return "", errors.New("this SSH key cannot sign")
	}
	signature, err := as.SignWithAlgorithm(rand.Reader, message, algorithm)
	if err != nil {
		return "", err
	}
	blob := append([]byte(sshMagic), 0, 0, 0, sshVersion)
	blob = append(blob, ssh.Marshal(sshBlob{PublicKey: string(signer.PublicKey().Marshal()), Namespace: Namespace,
		Hash: hash, Signature: string(ssh.Marshal(signature))})...)
	return string(pem.EncodeToMemory(&pem.Block{Type: sshArmor, Bytes: blob})), nil
}

func parseAuthorizedKey(line string) (ssh.PublicKey, error) {
	key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("%w: its public key is not one SSH key, as in authorized_keys", ErrSignature)
	}
	return key, nil
}

func authorizedKey(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

func sshFingerprint(key ssh.PublicKey) string { return ssh.FingerprintSHA256(key) }
