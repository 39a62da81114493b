package cli

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/sealgate/sealgate/recovery/transcript"
)

type transcriptFlags struct{ publicKey, head string }

func transcriptVerifyCommand(b *base) *command {
	b.formatted()
	f := &transcriptFlags{}
	b.flags.StringVar(&f.publicKey, "public-key", "",
		"`key` that has to have signed it, in base64, or @file; by default the one that the file names, which proves less")
	b.flags.StringVar(&f.head, "head", "",
		"`head` that an earlier check printed: proves that nothing up to it was cut off or rewritten since")
	b.own("public-key", "head")
	return &command{base: b, name: "transcript verify", args: "FILE | -", least: 1, most: 1, synopsis: "Check an exported transcript, without a server",
		about: `Checks the signatures and the chain of records that "operator transcript export" wrote, and says exactly what
was altered, left out, moved or put in. It asks no server.

The exit code is 0 where all is genuine, 2 where anything was altered, and 1 where the file cannot be read.`,
		run: func(args []string) int { return b.verifyTranscript(args[0], f) }}
}

func (b *base) verifyTranscript(name string, f *transcriptFlags) int {
	report, err := b.checkTranscript(name, f)
	if err != nil {
		b.errorf("Error: %v", err)
		return exitLocal
	}
	code := exitOK
	if b.format() != "table" {
		code = b.encode(machineTranscript(report))
	} else {
		b.showReport(report)
	}
	if code == exitOK && !report.OK() {
		return exitServer
	}
	return code
}

func (b *base) checkTranscript(name string, f *transcriptFlags) (*transcript.Report, error) {
	var public ed25519.PublicKey
	if f.publicKey != "" {
		text, err := b.oneSecret(f.publicKey) // no secret, but read from the same places
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
	data, err := b.readAll(name)
	if err != nil {
		return nil, err
	}
	return transcript.VerifyFile(bytes.NewReader(data), public, head)
}

// parsePublicKey reads an Ed25519 key in base64, as exports have it, or in hexadecimal.
func parsePublicKey(text string) (ed25519.PublicKey, error) {
	for _, decode := range []func(string) ([]byte, error){base64.StdEncoding.DecodeString, hex.DecodeString} {
		if key, err := decode(text); err == nil && len(key) == ed25519.PublicKeySize {
			return key, nil
		}
	}
	return nil, errors.New("not an Ed25519 key: 32 bytes in base64 are expected, as public_key of an export has them")
}

func (b *base) showReport(r *transcript.Report) {
	key := base64.StdEncoding.EncodeToString(r.PublicKey)
	if r.OK() {
		b.printf("Success! All is genuine, and nothing is missing between the first record and the last.\n\n")
	} else {
		b.printf("ALTERED! This is not what the server signed:\n\n")
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
	b.printf("%s", columns(p))
	if r.KeyFromFile {
		b.errorf("\nNote: the public key is the file's own. That proves that the file is whole, not whose it is: whoever rewrote\n" +
			"all of it may have put another key there. Compare the key with one that you have from elsewhere, by -public-key.")
	}
	if r.OK() && r.Records > 0 {
		b.errorf("\nRecords that were cut off at the end leave no trace. Note the head, and give it to the next check as -head.")
	}
}

type machineReport struct {
	Valid       bool             `json:"valid"`
	Records     int              `json:"records"`
	Head        string           `json:"head"`
	PublicKey   string           `json:"public_key"`
	KeyFromFile bool             `json:"key_from_file"`
	Problems    []machineProblem `json:"problems"`
}

type machineProblem struct {
	Record uint64 `json:"record"`
	Field  string `json:"field"`
	Text   string `json:"text"`
}

func machineTranscript(r *transcript.Report) machineReport {
	m := machineReport{Valid: r.OK(), Records: r.Records, Head: r.Head.String(), KeyFromFile: r.KeyFromFile,
		PublicKey: base64.StdEncoding.EncodeToString(r.PublicKey), Problems: []machineProblem{}}
	for _, p := range r.Problems {
		m.Problems = append(m.Problems, machineProblem(p))
	}
	return m
}
