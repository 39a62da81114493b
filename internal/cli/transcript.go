package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/openbao/openbao/api/v2"

	"github.com/sealgate/sealgate/recovery/transcript"
	"github.com/sealgate/sealgate/recovery/transcript/cosign"
)

func transcriptListCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator transcript list", synopsis: "List the records of the transcript",
		about: "Lists the records of ceremonies, oldest first: rekeys, root generations and whatever else shares authorised.",
		run:   func([]string) int { return b.withClient(func(c *api.Client) int { return listTranscripts(b, c) }) }}
}

func transcriptKeys(b *base, client *api.Client) (*api.Secret, []any, error) {
	s, err := client.Logical().List("sys/recovery/transcripts")
	keys, _ := keysOf(s)
	return s, keys, err
}

func listTranscripts(b *base, client *api.Client) int {
	s, keys, err := transcriptKeys(b, client)
	if err != nil {
		return b.fail("listing the transcript", err)
	}
	if len(keys) == 0 {
		b.errorf("The transcript has no records yet")
		return exitServer
	}
	return showList(b, s, keys, false)
}

func transcriptShowCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator transcript show", args: "RECORD", least: 1, most: 1,
		synopsis: "Show the record of a ceremony",
		about: `Shows who started a ceremony, which shares were given and when, and its outcome. RECORD is a name from
"operator transcript list", or just its number. It does not verify signature and chain: see "transcript verify".`,
		run: func(args []string) int {
			return b.withClient(func(client *api.Client) int { return showTranscript(b, client, args[0]) })
		}}
}

// transcriptKey completes a number to the name of a record.
func transcriptKey(b *base, client *api.Client, name string) (string, error) {
	if name == "" || strings.Trim(name, "0123456789") != "" {
		return name, nil
	}
	_, keys, err := transcriptKeys(b, client)
	if err != nil {
		return "", err
	}
	for _, k := range keys {
		full := fmt.Sprint(k)
		if number, _, _ := strings.Cut(full, "-"); strings.TrimLeft(number, "0") == strings.TrimLeft(name, "0") {
			return full, nil
		}
	}
	return "", fmt.Errorf("there is no record number %s", name)
}

func showTranscript(b *base, client *api.Client, name string) int {
	key, err := transcriptKey(b, client, name)
	if err != nil {
		return b.fail("finding the record", err)
	}
	var data struct {
		Record       json.RawMessage          `json:"record"`
		CoSignatures []transcript.CoSignature `json:"co_signatures"`
	}
	if err := callData(context.Background(), client, http.MethodGet, "sys/recovery/transcripts/"+url.PathEscape(key), nil,
		&data); err != nil {
		return b.fail("reading the record", err)
	}
	if b.format() != "table" {
		return encodeRaw(b, data.Record)
	}
	s := &transcript.Signed{}
	if err := s.UnmarshalJSON(data.Record); err != nil {
		return b.fail("reading the record", err)
	}
	rows := recordRows(s)
	for _, c := range data.CoSignatures {
		text := c.Name + ": "
		if print, err := cosign.Verify(s.Head(), c); err != nil {
			text += err.Error()
		} else {
			text += fmt.Sprintf("%s key %s, %s", strings.ToUpper(c.Kind), print, by(c.At, "", ""))
		}
		rows.add("Co-signed", text)
	}
	b.printf("%s", rows)
	return exitOK
}

// encodeRaw prints JSON of the server and keeps the order of its fields, as far as the format
// allows.
func encodeRaw(b *base, raw json.RawMessage) int {
	var out bytes.Buffer
	if b.format() == "json" && json.Indent(&out, raw, "", "  ") == nil {
		exact(b, "%s\n", visibleJSON(out.String()))
		return exitOK
	}
	return b.encode(raw)
}

// recordRows is a record as a table, without fields that do not apply.
func recordRows(s *transcript.Signed) pairs {
	r := &s.Record
	var p pairs
	p.add("Record", s.Seq)
	add := func(key, value string) {
		if value != "" {
			p.add(key, value)
		}
	}
	add("Cluster", r.Cluster)
	add("Purpose", r.Purpose)
	add("Nonce", r.Nonce)
	add("Started", by(r.Started, r.StartedBy, r.StartedAccessor))
	if r.Required > 0 {
		p.add("Shares Required", r.Required)
	}
	for _, g := range r.Given {
		p.add("Given", shareText(g))
	}
	if r.Shares > 0 {
		p.add("New Shares", fmt.Sprintf("%d, of which %d are needed", r.Shares, r.Threshold))
	}
	add("New Holders", strings.Join(r.Holders, ", "))
	add("Fingerprints", strings.Join(r.Fingerprints, ", "))
	if r.Shares > 0 {
		p.add("Backup", r.Backup)
		p.add("Verification", r.Verification)
	}
	for _, g := range r.Proven {
		p.add("Proven", shareText(g))
	}
	add("Outcome", string(r.Outcome))
	add("Reason", r.Reason)
	add("Finished", by(r.Finished, r.EndedBy, r.EndedAccessor))
	generation := fmt.Sprint(r.GenerationBefore)
	if r.GenerationAfter != r.GenerationBefore {
		generation = fmt.Sprintf("%d, then %d", r.GenerationBefore, r.GenerationAfter)
	}
	p.add("Generation of Shares", generation)
	p.add("Hash", s.Hash())
	return p
}

func shareText(s transcript.Share) string {
	text := fmt.Sprintf("share %d", s.Number)
	if s.Name != "" {
		text += " (" + s.Name + ")"
	}
	return text + ", " + by(s.At, "", "")
}

// by is "2026-11-22 18:13:05 UTC by root (accessor a)".
func by(at time.Time, name, accessor string) string {
	if at.IsZero() {
		return ""
	}
	text := at.UTC().Format("2006-01-02 15:04:05 UTC")
	if name != "" {
		text += " by " + name
	}
	if accessor != "" {
		text += " (accessor " + accessor + ")"
	}
	return text
}

func transcriptExportCommand(b *base) *command {
	return &command{base: b, name: "operator transcript export", args: "[FILE]", most: 1,
		synopsis: "Write all records to a file",
		about: `Writes the whole chain of records and the public key that verifies it as JSON to a new file, or to standard
output. Anybody can verify it offline: see "transcript verify". It contains no secrets.`,
		run: func(args []string) int {
			return b.withClient(func(client *api.Client) int { return exportTranscript(b, client, args) })
		}}
}

func exportTranscript(b *base, client *api.Client, args []string) int {
	var chain json.RawMessage
	if err := callData(context.Background(), client, http.MethodGet, "sys/recovery/transcript", nil, &chain); err != nil {
		return b.fail("exporting the transcript", err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, chain, "", "  "); err != nil {
		return b.fail("exporting the transcript", err)
	}
	out.WriteByte('\n')
	if len(args) == 0 || args[0] == "-" {
		if err := b.deliver(out.String()); err != nil {
			b.errorf("Error writing the transcript: %v", err)
			return exitLocal
		}
		return exitOK
	}
	if err := writeNew(b, args[0], out.Bytes()); err != nil {
		b.errorf("Error writing the transcript: %v", err)
		return exitLocal
	}
	b.printf("Success! Exported to %s. To verify it:\n\n    sealgate transcript verify %s\n", args[0], args[0])
	return exitOK
}

// writeNew writes a file that must not exist yet: an earlier export is worth keeping for
// comparison. A pipe or device is written directly.
func writeNew(b *base, name string, data []byte) (err error) {
	if _, mode, err := outTarget(name); err == nil && !mode.IsRegular() {
		out, err := b.createFile(name)
		if err != nil {
			return err
		}
		if _, err := out.Write(data); err != nil {
			return out.abort(err)
		}
		return out.commit()
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = os.Remove(name)
	}
	return err
}
