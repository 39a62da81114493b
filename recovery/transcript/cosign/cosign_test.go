package cosign

import (
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	"golang.org/x/crypto/ssh"

	"github.com/sealgate/sealgate/internal/testkit"
	"github.com/sealgate/sealgate/recovery/transcript"
)

var (
	head  = transcript.Head{Seq: 7, Hash: transcript.Hash{1, 2, 3}}
	other = transcript.Head{Seq: 7, Hash: transcript.Hash{1, 2, 4}}
	at    = time.Date(2026, 11, 28, 20, 0, 0, 0, time.UTC)
	word  = func() ([]byte, error) { return []byte("a passphrase"), nil }
	none  = func() ([]byte, error) { return nil, errors.New("no passphrase") }
)

func sshKey(t *testing.T, passphrase string) []byte {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block)
}

func pgpKey(t *testing.T, passphrase string) []byte {
	t.Helper()
	config := &packet.Config{Time: func() time.Time { return at.AddDate(-1, 0, 0) }, Algorithm: packet.PubKeyAlgoEdDSA}
	e, err := openpgp.NewEntity("alice", "", "alice@example.com", config)
	if err != nil {
		t.Fatal(err)
	}
	if passphrase != "" {
		if err := e.EncryptPrivateKeys([]byte(passphrase), nil); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := armored(&out, "PGP PRIVATE KEY BLOCK", func(w *bytes.Buffer) error {
		return e.SerializePrivateWithoutSigning(w, nil)
	}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestSign: each kind of key signs, its signature verifies for this record alone, and every
// alteration is refused.
func TestSign(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		key        []byte
		passphrase func() ([]byte, error)
	}{
		"ssh": {sshKey(t, ""), none}, "ssh with a passphrase": {sshKey(t, "a passphrase"), word},
		"pgp": {pgpKey(t, ""), none}, "pgp with a passphrase": {pgpKey(t, "a passphrase"), word},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := Sign(head, "alice", c.key, c.passphrase, at)
			if err != nil {
				t.Fatal(err)
			}
			print, err := Verify(head, s)
			if err != nil {
				t.Fatal(err)
			}
			if claimed, err := Fingerprint(s); claimed != print || err != nil {
				t.Errorf("the fingerprint %q, %v; verified was %q", claimed, err, print)
			}
			again, err := Sign(head, "bob", c.key, c.passphrase, at)
			if err != nil {
				t.Fatal(err)
			}
			stranger, err := Sign(head, "eve", map[string][]byte{SSH: sshKey(t, ""), PGP: pgpKey(t, "")}[s.Kind], none, at)
			if err != nil {
				t.Fatal(err)
			}
			exchanged, renumbered, nameless, kind := s, s, s, s
			exchanged.PublicKey, renumbered.Seq, nameless.Name, kind.Kind = stranger.PublicKey, 8, "a\nb", "age"
			long := again
			long.PublicKey += strings.Repeat("x", MaxPublicKey)
			for what, bad := range map[string]transcript.CoSignature{
				"another's key": exchanged, "another number": renumbered, "an odd name": nameless, "another kind": kind,
				"a long key": long, "nothing": {},
			} {
				if _, err := Verify(head, bad); !errors.Is(err, ErrSignature) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if _, err := Verify(other, s); !errors.Is(err, ErrSignature) {
				t.Errorf("another record: %v", err)
			}
		})
	}
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		key        string
		passphrase func() ([]byte, error)
		want       string
	}{
		"age":                {"# created\nAGE-SECRET-KEY-1QQQ", none, "age encrypts alone"},
		"nothing":            {"", none, "neither an SSH nor an armored PGP"},
		"no passphrase":      {string(sshKey(t, "x")), none, "no passphrase"},
		"a wrong passphrase": {string(sshKey(t, "x")), word, "passphrase is wrong"},
		"a wrong one of PGP": {string(pgpKey(t, "x")), word, "passphrase of the PGP key is wrong"},
	} {
		_, err := Sign(head, "alice", []byte(c.key), c.passphrase, at)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOpenSSHAndGnuPG make signatures that verify here, and verify ours.
func TestOpenSSHAndGnuPG(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	run := func(stdin []byte, name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Stdin = bytes.NewReader(stdin)
		cmd.Env = append(os.Environ(), "GNUPGHOME="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	statement := file("statement", Statement(head))
	t.Run("ssh-keygen", func(t *testing.T) {
		testkit.Require(t, "ssh-keygen")
		for _, kind := range []string{"ed25519", "rsa", "ecdsa"} {
			key := filepath.Join(dir, kind)
			run(nil, "ssh-keygen", "-q", "-t", kind, "-N", "", "-f", key)
			theirs := file("theirs", []byte(run(Statement(head), "ssh-keygen", "-q", "-Y", "sign", "-n", Namespace, "-f", key)))
			raw, err := os.ReadFile(theirs)
			if err != nil {
				t.Fatal(err)
			}
			text := string(raw)
			s, err := New(head, "alice", text[strings.Index(text, "-----BEGIN"):], "", at)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Verify(head, s); err != nil {
				t.Errorf("%s of ssh-keygen: %v", kind, err)
			}
			private, err := os.ReadFile(key)
			if err != nil {
				t.Fatal(err)
			}
			ours, err := Sign(head, "alice", private, none, at)
			if err != nil {
				t.Fatal(err)
			}
			allowed := file("allowed", []byte("alice "+ours.PublicKey+"\n"))
			run(Statement(head), "ssh-keygen", "-Y", "verify", "-n", Namespace, "-I", "alice", "-f", allowed, "-s",
				file("ours", []byte(ours.Signature)))
		}
	})
	t.Run("gpg", func(t *testing.T) {
		testkit.Require(t, "gpg")
		run(nil, "gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "alice@example.com", "ed25519",
			"sign")
		run(nil, "gpg", "--batch", "--quiet", "--armor", "--detach-sign", "--output", filepath.Join(dir, "sig"), statement)
		signature, err := os.ReadFile(filepath.Join(dir, "sig"))
		if err != nil {
			t.Fatal(err)
		}
		public := run(nil, "gpg", "--batch", "--quiet", "--armor", "--export-options", "export-minimal", "--export")
		public = public[strings.Index(public, "-----BEGIN"):]
		s, err := New(head, "alice", string(signature), public, time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(head, s); err != nil {
			t.Errorf("a signature of gpg: %v", err)
		}
		ours, err := Sign(head, "alice", pgpKey(t, ""), none, at)
		if err != nil {
			t.Fatal(err)
		}
		run([]byte(ours.PublicKey), "gpg", "--batch", "--quiet", "--import")
		run(nil, "gpg", "--batch", "--quiet", "--verify", file("ours", []byte(ours.Signature)), statement)
	})
}

func TestReadSigners(t *testing.T) {
	t.Parallel()
	s, err := Sign(head, "alice", sshKey(t, ""), none, at)
	if err != nil {
		t.Fatal(err)
	}
	print, err := Fingerprint(s)
	if err != nil {
		t.Fatal(err)
	}
	hexadecimal := strings.Repeat("ab", 20)
	all, err := ReadSigners(strings.NewReader(
		"# people\n\nalice " + s.PublicKey + "\nbob " + strings.ToUpper(hexadecimal) + "\n"))
	if err != nil || all[print] != "alice" || all[hexadecimal] != "bob" || len(all) != 2 {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := ReadSigners(strings.NewReader("\ncarol x\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a line that is none: %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(SSH, "ssh-ed25519 AAAA", "-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n")
	f.Add(PGP, "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n=\n-----END PGP PUBLIC KEY BLOCK-----\n", "")
	f.Fuzz(func(t *testing.T, kind, key, signature string) {
		_, err := Verify(head, transcript.CoSignature{Seq: 7, Name: "a", Kind: kind, PublicKey: key,
			Signature: signature, At: at})
		if err == nil || !errors.Is(err, ErrSignature) {
			t.Fatalf("accepted, or not an ErrSignature: %v", err)
		}
	})
}
