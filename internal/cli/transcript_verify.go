package cli

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sealgate/sealgate/recovery/transcript"
	"github.com/sealgate/sealgate/recovery/transcript/cosign"
)

type transcriptFlags struct {
	publicKey, head, signers string
	device                   bool
}

func transcriptVerifyCommand(b *base) *command {
	b.formatted()
	f := &transcriptFlags{}
	b.flags.StringVar(&f.publicKey, "public-key", "",
		"expected signing `key` in base64, or @file; by default the key in the file, which proves less")
	b.flags.StringVar(&f.head, "head", "",
		"`head` from an earlier verification: proves that no record up to it was removed or rewritten since")
	b.flags.StringVar(&f.signers, "signers", "",
		"`file` with the keys that may co-sign, one a line: a name, and an SSH key or the fingerprint of a PGP key")
	b.flags.BoolVar(&f.device, "require-device", false,
		"fail where a record lacks the signature of the key in an HSM or KMS that was to sign it")
	b.own("public-key", "head", "signers", "require-device")
	b.nonEmpty("public-key", "head", "signers")
	return &command{base: b, name: "transcript verify", args: "FILE | -", least: 1, most: 1,
		synopsis: "Verify an exported transcript offline",
		about: `Verifies the signatures and the chain of an export of "operator transcript export", and reports which
records were altered, removed, moved or inserted. It makes no request. The export has the head of the chain as the
server attested it, with the time; "Checked Against" in the report is the head up to which no record can be missing.

Where a key in an HSM or KMS signs the records, "Signed In Device" has the records that it was to sign, and those
that it did not sign. With -require-device, or with such a key in -signers, a missing signature is a failure.

The exit code is 0 if the transcript is genuine, 2 if it was altered, and 1 if it cannot be read.`,
		run: func(args []string) int { return verifyTranscript(b, args[0], f) }}
}

func verifyTranscript(b *base, name string, f *transcriptFlags) int {
	report, err := checkTranscript(b, name, f)
	var signers cosign.Signers
	if err == nil && f.signers != "" {
		signers, err = readSigners(f.signers)
	}
	if err != nil {
		b.errorf("Error: %v", err)
		return exitLocal
	}
	signed := checkCoSignatures(report, signers)
	spans := checkDevices(report, signed, signers, f.device)
	code := exitOK
	if b.format() != "table" {
		code = b.encode(machineTranscript(report, signed, spans))
	} else {
		showReport(b, report, signed, spans)
		if len(signed) > 0 && signers == nil {
			b.errorf("\nNote: the keys of the co-signatures were compared with no known keys. Use -signers with keys from " +
				"another source.")
		}
	}
	if code == exitOK && !report.OK() {
		return exitServer
	}
	return code
}

func readSigners(name string) (cosign.Signers, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("-signers: %w", err)
	}
	defer file.Close()
	signers, err := cosign.ReadSigners(file)
	if err != nil {
		return nil, fmt.Errorf("-signers: %w", err)
	}
	return signers, nil
}

func checkTranscript(b *base, name string, f *transcriptFlags) (*transcript.Report, error) {
	var public ed25519.PublicKey
	if f.publicKey != "" {
		text, err := b.oneSecret(f.publicKey) // not a secret, but read from the same sources
		if err == nil {
			public, err = parsePublicKey(text)
		}
		if err != nil {
			return nil, fmt.Errorf("-public-key: %w", err)
		}
	}
	var head *transcript.Head
	if f.head != "" {
		h, err := transcript.ParseHead(f.head)
		if err != nil {
			return nil, fmt.Errorf("-head: %w", err)
		}
		head = &h
	}
	if name == "-" {
		if b.env.Stdin == nil {
			return nil, errors.New("standard input is closed")
		}
		return transcript.VerifyFile(b.env.Stdin, public, head)
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return transcript.VerifyFile(file, public, head)
}

// parsePublicKey reads an Ed25519 key in base64, as in exports, or in hexadecimal.
func parsePublicKey(text string) (ed25519.PublicKey, error) {
	for _, decode := range []func(string) ([]byte, error){base64.StdEncoding.DecodeString, hex.DecodeString} {
		if key, err := decode(text); err == nil && len(key) == ed25519.PublicKeySize {
			return key, nil
		}
	}
	return nil, errors.New("not an Ed25519 key: the form is 32 bytes in base64, as in public_key of an export")
}

func showReport(b *base, r *transcript.Report, signed []coSigned, spans []deviceSpan) {
	key := base64.StdEncoding.EncodeToString(r.PublicKey)
	if r.OK() {
		b.printf("Success! All records are genuine, and none is missing between the first and the last.\n\n")
	} else {
		text := "ALTERED! This is not what the server signed:"
		if genuineButCoSignatures(r) {
			text = "NOT CO-SIGNED AS CLAIMED! The records are genuine, but:"
		}
		b.printf("%s\n\n", text)
		for _, p := range r.Problems {
			b.printf("  * %s\n", p)
		}
		b.printf("\n")
	}
	var p pairs
	p.add("Records", r.Records)
	p.add("Public Key", key)
	if r.Head != (transcript.Head{}) {
		p.add("Head", r.Head)
	}
	if len(r.Checked) == 0 {
		p.add("Checked Against", "no head")
	}
	for _, h := range r.Checked {
		p.add("Checked Against", fmt.Sprintf("%s (%s)", h.Head, headSource(h)))
	}
	for _, s := range signed {
		if !cosign.IsDevice(s.Name) {
			p.add("Co-signed", s.text())
		}
	}
	for _, s := range spans {
		p.add("Signed In Device", s.text())
	}
	b.printf("%s", columns(p))
	if r.KeyFromFile {
		b.errorf("\nNote: the public key comes from the file itself. This proves that the file is intact, but not its " +
			"origin: an\n" +
			"attacker who rewrote all of it would have replaced the key too. Use -public-key with a key from another source.")
	}
	switch {
	case !r.OK() || r.Records == 0:
	case len(r.Checked) == 0:
		b.errorf("\nThe records were checked against no head, so a truncation at the end is not detectable. Keep the head " +
			"and use\nit as -head next time, or export the transcript again: the server then attests the head.")
	default:
		b.errorf("\nRecords that followed the head in \"Checked Against\" can be missing. Keep the newest head and use it " +
			"as -head\nnext time.")
	}
}

// headSource says where a head comes from that records were checked against.
func headSource(h transcript.Checked) string {
	if h.At.IsZero() {
		return "-head"
	}
	return "attested by the server at " + h.At.UTC().Format("2006-01-02 15:04:05 UTC")
}

type machineReport struct {
	Valid       bool   `json:"valid"`
	Records     int    `json:"records"`
	Head        string `json:"head"`
	PublicKey   string `json:"public_key"`
	KeyFromFile bool   `json:"key_from_file"`
	// CheckedAgainst are the heads up to which no record is missing.
	CheckedAgainst []machineHead    `json:"checked_against"`
	CoSignatures   []machineSigned  `json:"co_signatures"` // the valid ones
	DeviceKeys     []machineSpan    `json:"device_keys"`   // that were to sign
	Problems       []machineProblem `json:"problems"`
}

type machineSigned struct {
	Record      uint64 `json:"record"`
	Name        string `json:"name"`
	Kind        string `json:"kind"`
	Fingerprint string `json:"fingerprint"`
	Known       bool   `json:"known"` // the key is in -signers
	At          string `json:"at"`
}

type machineSpan struct {
	Name        string   `json:"name"` // "": it signed none
	Fingerprint string   `json:"fingerprint"`
	Known       bool     `json:"known"` // the key is in -signers
	From        uint64   `json:"from"`
	To          uint64   `json:"to"`
	Missing     []uint64 `json:"missing"` // records that it did not sign
}

type machineHead struct {
	Head   string `json:"head"`
	Source string `json:"source"`       // "server" or "-head"
	At     string `json:"at,omitempty"` // when the server attested it
}

type machineProblem struct {
	Record uint64 `json:"record"`
	Field  string `json:"field"`
	Text   string `json:"text"`
}

func machineTranscript(r *transcript.Report, signed []coSigned, spans []deviceSpan) machineReport {
	m := machineReport{Valid: r.OK(), Records: r.Records, Head: r.Head.String(), KeyFromFile: r.KeyFromFile,
		PublicKey: base64.StdEncoding.EncodeToString(r.PublicKey), Problems: []machineProblem{}}
	m.CoSignatures = []machineSigned{}
	for _, s := range signed {
		m.CoSignatures = append(m.CoSignatures, machineSigned{Record: s.Seq, Name: s.Name, Kind: s.Kind,
			Fingerprint: s.fingerprint, Known: s.known != "", At: s.At.UTC().Format(time.RFC3339)})
	}
	m.DeviceKeys = []machineSpan{}
	for _, s := range spans {
		one := machineSpan{s.name, s.fingerprint, s.known != "", s.from, s.to, s.missing}
		if one.Missing == nil {
			one.Missing = []uint64{}
		}
		m.DeviceKeys = append(m.DeviceKeys, one)
	}
	m.CheckedAgainst = []machineHead{}
	for _, h := range r.Checked {
		one := machineHead{Head: h.Head.String(), Source: "-head"}
		if !h.At.IsZero() {
			one.Source, one.At = "server", h.At.UTC().Format(time.RFC3339)
		}
		m.CheckedAgainst = append(m.CheckedAgainst, one)
	}
	for _, p := range r.Problems {
		m.Problems = append(m.Problems, machineProblem(p))
	}
	return m
}
