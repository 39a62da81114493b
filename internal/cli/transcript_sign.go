package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/openbao/openbao/api/v2"

	"github.com/sealgate/sealgate/recovery/transcript"
	"github.com/sealgate/sealgate/recovery/transcript/cosign"
)

type signFlags struct {
	name, key, signature, publicKey string
	statement                       bool
}

func transcriptSignCommand(b *base) *command {
	b.formatted()
	f := &signFlags{}
	b.flags.StringVar(&f.name, "name", "", "`name` of the signer, such as the holder of a share")
	b.flags.StringVar(&f.key, "key", "", "sign with the private key in this `file`: SSH, or armored PGP")
	b.flags.StringVar(&f.signature, "signature", "", "`file` with a signature that another program made")
	b.flags.StringVar(&f.publicKey, "public-key", "", "`file` with the armored public key of a PGP -signature")
	b.flags.BoolVar(&f.statement, "statement", false, "only print the text that is signed")
	b.own("name", "key", "signature", "public-key", "statement")
	b.nonEmpty("name", "key", "signature", "public-key")
	return &command{base: b, name: "operator transcript sign", args: "RECORD", least: 1, most: 1,
		synopsis: "Co-sign the record of a ceremony",
		about: `Signs the record of a ceremony with your own key, beside the server's signature, and stores the
signature with the transcript. RECORD is a name from "operator transcript list", or just its
number; look at it before with "operator transcript show". The private key stays with this
command. Needs "read" and "update" on sys/recovery/transcripts/*.

    $ sealgate operator transcript sign -name=alice -key=$HOME/.ssh/id_ed25519 7

For a key in hardware, or one that only another program may use:

    $ sealgate operator transcript sign -statement 7 > statement
    $ ssh-keygen -Y sign -n sealgate-transcript -f key.pub statement       (or: gpg --armor --detach-sign statement)
    $ sealgate operator transcript sign -name=alice -signature=statement.sig 7

An age identity cannot sign: age encrypts alone.`,
		run: func(args []string) int { return runSign(b, f, args[0]) }}
}

func runSign(b *base, f *signFlags, record string) int {
	switch {
	case f.statement && (f.key != "" || f.signature != ""), !f.statement && (f.key != "") == (f.signature != ""):
		b.errorf("Error: specify one of -key, -signature and -statement")
		return exitLocal
	case !f.statement && f.name == "":
		b.errorf("Error: specify the name of the signer with -name")
		return exitLocal
	}
	return b.withClient(func(client *api.Client) int { return signTranscript(b, client, f, record) })
}

func signTranscript(b *base, client *api.Client, f *signFlags, name string) int {
	key, signed, err := fetchRecord(b, client, name)
	if err != nil {
		return b.fail("reading the record", err)
	}
	if f.statement {
		exact(b, "%s", cosign.Statement(signed.Head()))
		return exitOK
	}
	s, err := makeSignature(b, f, signed.Head())
	if err == nil {
		_, err = cosign.Verify(signed.Head(), s)
	}
	if err != nil {
		b.errorf("Error signing the record: %v", err)
		return exitLocal
	}
	body := map[string]string{"name": f.name, "signature": s.Signature}
	if s.Kind == cosign.PGP {
		body["public_key"] = s.PublicKey
	}
	var out struct {
		Fingerprint string `json:"fingerprint"`
	}
	path := "sys/recovery/transcripts/" + url.PathEscape(key)
	err = callData(context.Background(), client, http.MethodPut, path, body, &out)
	if err != nil {
		return b.fail("storing the signature", err)
	}
	if b.format() != "table" {
		return b.encode(out)
	}
	b.printf("Success! Record %d is co-signed by %s with the key %s.\n", signed.Seq, f.name, out.Fingerprint)
	return exitOK
}

// fetchRecord reads a record and checks its hashes, so that nobody signs other values than those
// that "operator transcript show" shows.
func fetchRecord(b *base, client *api.Client, name string) (key string, s *transcript.Signed, err error) {
	if key, err = transcriptKey(b, client, name); err != nil {
		return "", nil, err
	}
	var data struct {
		Record json.RawMessage `json:"record"`
	}
	path := "sys/recovery/transcripts/" + url.PathEscape(key)
	if err := callData(context.Background(), client, http.MethodGet, path, nil, &data); err != nil {
		return "", nil, err
	}
	s = &transcript.Signed{}
	return key, s, s.UnmarshalJSON(data.Record)
}

// makeSignature signs, or reads what another program signed.
func makeSignature(b *base, f *signFlags, head transcript.Head) (transcript.CoSignature, error) {
	now := time.Now
	if b.env.Now != nil {
		now = b.env.Now
	}
	if f.key != "" {
		private, err := b.readAll(f.key)
		if err != nil {
			return transcript.CoSignature{}, err
		}
		defer clear(private)
		return cosign.Sign(head, f.name, private, func() ([]byte, error) {
			text, err := b.prompt("Passphrase of the key (will be hidden): ")
			return []byte(text), err
		}, now())
	}
	signature, err := b.readAll(f.signature)
	if err != nil {
		return transcript.CoSignature{}, err
	}
	var public []byte
	if f.publicKey != "" {
		if public, err = b.readAll(f.publicKey); err != nil {
			return transcript.CoSignature{}, err
		}
	}
	return cosign.New(head, f.name, string(signature), string(public), now())
}

// coSigned is a co-signature that was verified.
type coSigned struct {
	transcript.CoSignature
	fingerprint string
	known       string // its name in -signers; "" where it is in none
}

// coSignatureBy begins the text of a problem with a co-signature.
const coSignatureBy = "co-signature by "

// genuineButCoSignatures reports whether the server's own chain is genuine, and a co-signature is
// not.
func genuineButCoSignatures(r *transcript.Report) bool {
	return !slices.ContainsFunc(r.Problems, func(p transcript.Problem) bool {
		return !strings.HasPrefix(p.Text, coSignatureBy)
	})
}

// checkCoSignatures verifies the co-signatures of a report, and adds what is wrong to its problems.
// Without signers, the keys are not compared with known ones.
func checkCoSignatures(r *transcript.Report, signers cosign.Signers) (all []coSigned) {
	bad := func(s transcript.CoSignature, text string, args ...any) {
		r.Problems = append(r.Problems, transcript.Problem{Record: s.Seq,
			Text: fmt.Sprintf(coSignatureBy+"%.60q: ", s.Name) + fmt.Sprintf(text, args...)})
	}
	spans := deviceSpans(r)
	for _, s := range r.CoSignatures {
		head, ok := r.Genuine(s.Seq)
		if !ok {
			bad(s, "there is no such record")
			continue
		}
		print, err := cosign.Verify(head, s)
		if err != nil {
			bad(s, "%v", err)
			continue
		}
		known := signers[print]
		switch {
		case cosign.IsDevice(s.Name) && !namedInChain(spans, s.Seq, print):
			bad(s, "the transcript does not say that the key %s in a device signs this record", print)
			continue
		case signers != nil && known == "" && !cosign.IsDevice(s.Name): // of devices, checkDevices reports each once
			bad(s, "the key %s is none of -signers", print)
			continue
		case known != "" && known != s.Name:
			bad(s, "the key %s is of %q in -signers", print, known)
			continue
		}
		all = append(all, coSigned{s, print, known})
	}
	return all
}

// text is "record 7 by alice with the SSH key SHA256:..., at 2026-11-22 18:13:05 UTC".
func (s coSigned) text() string {
	key := "SSH"
	if s.Kind == cosign.PGP {
		key = "PGP"
	}
	return fmt.Sprintf("record %d by %s with the %s key %s, %s", s.Seq, s.Name, key, s.fingerprint, by(s.At, "", ""))
}
