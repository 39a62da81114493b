package ui

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/recovery/transcript"
)

// transcriptData is the page of the transcript.
type transcriptData struct {
	Records []string // newest first
	More    int
	Open    string
	Facts   []fact
	Genuine *verification
}

// fact is one field of a record, in words.
type fact struct{ Name, Text string }

// verification is the result for the whole chain.
type verification struct {
	OK        bool
	Records   int
	PublicKey string
	Head      string
	Problems  []string
}

// shownRecords bounds the list of the page.
const shownRecords = 100

func transcriptPage() *page {
	return &page{
		slug: "transcript", title: "transcript", group: "operate",
		intro: "Each ceremony and each change of the seals leaves a signed record. A record contains the hash of the one " +
			"before, so that none can be changed or removed unseen.",
		cli: []string{"sealgate operator transcript list", "sealgate operator transcript export FILE",
			"sealgate transcript verify FILE"},
		load: loadTranscript, actions: []action{},
	}
}

func loadTranscript(q *query) (any, error) {
	var d transcriptData
	var err error
	if d.Records, err = q.list("sys/recovery/transcripts"); err != nil {
		return d, err
	}
	slices.Reverse(d.Records)
	if len(d.Records) > shownRecords {
		d.More = len(d.Records) - shownRecords
		d.Records = d.Records[:shownRecords]
	}
	asked := q.r.URL.Query()
	if name := asked.Get("record"); name != "" {
		if d.Facts, err = q.record(name); err != nil {
			return d, err
		}
		d.Open = name
	}
	if asked.Get("verify") != "" {
		d.Genuine, err = q.verifyTranscript()
	}
	return d, err
}

// record reads one record.
func (q *query) record(name string) ([]fact, error) {
	if strings.ContainsAny(name, "/?#") {
		return nil, &problem{Status: http.StatusBadRequest, Text: "There is no such record."}
	}
	var found struct {
		Record       json.RawMessage
		CoSignatures []transcript.CoSignature `json:"co_signatures"`
	}
	if err := q.get("sys/recovery/transcripts/"+name, &found); err != nil {
		return nil, err
	}
	s := &transcript.Signed{}
	if err := s.UnmarshalJSON(found.Record); err != nil {
		return nil, fmt.Errorf("the record cannot be read: %w", err)
	}
	facts := factsOf(s)
	for _, c := range found.CoSignatures {
		facts = append(facts, fact{"Co-signed", c.Name + ", " + clockOf(c.At)})
	}
	return facts, nil
}

// factsOf lists the fields of a record that it has.
func factsOf(s *transcript.Signed) []fact {
	r := &s.Record
	var all []fact
	add := func(name, text string) {
		if text != "" {
			all = append(all, fact{name, text})
		}
	}
	add("Purpose", r.Purpose)
	add("Started", join(clockOf(r.Started), r.StartedBy))
	if r.Required > 0 {
		add("Shares needed", fmt.Sprint(r.Required))
	}
	for _, g := range r.Given {
		add("Given", shareOf(g))
	}
	if r.Shares > 0 {
		add("New shares", fmt.Sprintf("%d, of which %d act together", r.Shares, r.Threshold))
	}
	add("New holders", strings.Join(r.Holders, ", "))
	add("Fingerprints", strings.Join(r.Fingerprints, ", "))
	for _, g := range r.Proven {
		add("Verified", shareOf(g))
	}
	add("Outcome", string(r.Outcome))
	add("Reason", r.Reason)
	add("Finished", join(clockOf(r.Finished), r.EndedBy))
	add("Ceremony", r.Nonce)
	add("Hash", s.Hash().String())
	return all
}

func shareOf(s transcript.Share) string {
	return join(fmt.Sprintf("share %d", s.Number), s.Name, clockOf(s.At))
}

func clockOf(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return when(t.Format(time.RFC3339))
}

// join joins the texts that are not empty.
func join(texts ...string) string {
	return strings.Join(slices.DeleteFunc(texts, func(s string) bool { return s == "" }), ", ")
}

// verifyTranscript checks the signatures and the chain of all records, as an auditor does with an
// export.
func (q *query) verifyTranscript() (*verification, error) {
	a, err := q.do(ask{method: http.MethodGet, path: "sys/recovery/transcript"})
	if err != nil {
		return nil, err
	}
	var chain json.RawMessage
	if err := a.decode(&chain); err != nil {
		return nil, err
	}
	report, err := transcript.VerifyFile(bytes.NewReader(chain), nil, nil)
	if err != nil {
		return nil, err
	}
	v := &verification{OK: report.OK(), Records: report.Records, Head: report.Head.String(),
		PublicKey: base64.StdEncoding.EncodeToString(report.PublicKey)}
	for _, p := range report.Problems {
		v.Problems = append(v.Problems, p.String())
	}
	return v, nil
}
