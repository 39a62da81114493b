package ui

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// kind is a ceremony that custodians take part in, by the paths that need no token.
type kind struct {
	Slug, Title string
	Path        string // below which init or attempt, update and verify are
	Start       string // the last segment of the status
	What        string // what the shares authorise
	CLI         string
	renews      bool   // it makes new shares
	done        string // what the last share did; "": the administrator who started it may act
}

var kinds = []kind{
	{Slug: "recovery", Title: "New recovery shares", Path: "sys/rekey-recovery-key", Start: "init",
		What: "New recovery shares replace the present ones. The data, its keys and the seals stay as they are.",
		CLI:  "sealgate operator rekey -target=recovery -nonce=NONCE", renews: true},
	{Slug: "unseal", Title: "New unseal shares", Path: "sys/rekey", Start: "init",
		What: "New unseal shares replace the present ones. The data and its keys stay as they are.",
		CLI:  "sealgate operator rekey -nonce=NONCE", renews: true},
	{Slug: "root", Title: "A new root token", Path: "sys/generate-root", Start: "attempt",
		What: "The quorum makes a token that may do everything. Give a share only if you know who needs it, and why.",
		CLI:  "sealgate operator generate-root -nonce=NONCE"},
	{Slug: "authorize-raw", Title: "Raw access to the storage", Path: "sys/authorize/raw", Start: "attempt",
		What: "One administrator may make one call of sys/raw within ten minutes: read, list, write or delete an entry " +
			"behind the barrier, whatever the policies say about it.",
		CLI: "sealgate operator authorize -purpose=raw -nonce=NONCE"},
	{Slug: "authorize-restore", Title: "A forced restore", Path: "sys/authorize/restore", Start: "attempt",
		What: "One administrator may replace all data by the snapshot of another cluster, once.",
		CLI:  "sealgate operator authorize -purpose=restore -nonce=NONCE"},
	{Slug: "authorize-seals", Title: "A weaker protection by seals", Path: "sys/authorize/seals", Start: "attempt",
		What: "One administrator may make this change of the seals, once: it lessens what protects this cluster.",
		CLI:  "sealgate operator authorize -purpose=seals -nonce=NONCE"},
	{Slug: "break-glass-enroll", Title: "Enrolment for break-glass", Path: "sys/break-glass/enroll", Start: "attempt",
		What: "From then on your shares can decrypt: a quorum of you unseals this cluster when every seal is lost. A " +
			"quorum of the shares and a copy of the storage then suffice to read all data.",
		CLI:  "sealgate operator break-glass enroll -nonce=NONCE",
		done: "your share was the last one: the holders of the recovery shares are enrolled for break-glass"},
	{Slug: "break-glass-remove", Title: "The end of the enrolment for break-glass", Path: "sys/break-glass/remove",
		Start: "attempt",
		What: "From then on your shares decrypt nothing: the data does not survive the loss of every seal. " +
			"The shares still " +
			"authorise.",
		CLI:  "sealgate operator break-glass remove -nonce=NONCE",
		done: "your share was the last one: the enrolment for break-glass has ended"},
}

func kindOf(slug string) (kind, bool) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.Slug == slug })
	if i < 0 {
		return kind{}, false
	}
	return kinds[i], true
}

// progress is the state of a ceremony, by the names of all kinds.
type progress struct {
	Nonce                string
	Started              bool
	T, N                 int
	Progress, Required   int
	Complete             bool
	PGPFingerprints      []string `json:"pgp_fingerprints"`
	PGPFingerprint       string   `json:"pgp_fingerprint"`
	VerificationRequired bool     `json:"verification_required"`
	VerificationNonce    string   `json:"verification_nonce"`
	HoldersGiven         []string `json:"holders_given"`
	KeysBase64           []string `json:"keys_base64"`
	EncodedToken         string   `json:"encoded_token"`
	StartedBy            string   `json:"started_by"`
	Change               string   `json:"change"`
	Expires              string
}

// ceremonyData is the page of a ceremony.
type ceremonyData struct {
	Kind     kind
	Progress progress
	Verify   *progress // the verification of new shares, when it is their turn
	Missing  []string  // holders whose share is missing; for a token that may read them
	Named    bool      // Missing was read

	Receipt *receipt
	Shares  []newShare // shown once
	Encoded string     // the encoded root token
}

// receipt is the confirmation that a custodian can keep.
type receipt struct {
	Time, Nonce string
	What        string
	Given       []string
}

// newShare is a share, or the message that it is encrypted to.
type newShare struct {
	Number      int
	Share       string
	Fingerprint string // of the key it is encrypted to; "" where it is in the clear
	Command     string // how its holder decrypts it
}

func (u *UI) ceremonies(w http.ResponseWriter, r *http.Request) {
	q := &query{u: u, r: r, s: u.Sessions.find(r)}
	var all []ceremonyData
	var first *problem
	for _, k := range kinds {
		var p progress
		if err := q.get(k.Path+"/"+k.Start, &p); err != nil {
			if refused := problemOf(err); first == nil && refused.Status != http.StatusBadRequest {
				first = refused // 400: there are no such shares here
			}
			continue
		}
		if p.Started {
			all = append(all, ceremonyData{Kind: k, Progress: p})
		}
	}
	u.show(w, r, "custody", view{Title: "Ceremonies", Page: "ceremony", Problem: first, Data: all,
		CLI: []string{"sealgate operator rekey -target=recovery -status", "sealgate operator generate-root -status"}})
}

// ceremonyState reads the state of a ceremony.
func (q *query) ceremonyState(k kind) (ceremonyData, error) {
	d := ceremonyData{Kind: k}
	if err := q.get(k.Path+"/"+k.Start, &d.Progress); err != nil {
		return d, err
	}
	if k.renews && d.Progress.VerificationNonce != "" {
		d.Verify = &progress{}
		if err := q.get(k.Path+"/verify", d.Verify); err != nil {
			return d, err
		}
	}
	if q.s != nil && d.Progress.Started {
		d.Missing, d.Named = q.missing(d)
	}
	return d, nil
}

// missing lists the holders who have not given a share yet.
func (q *query) missing(d ceremonyData) ([]string, bool) {
	sets := map[string]struct {
		Holders []struct {
			Name   string
			Number int
		}
	}{}
	if q.get("sys/recovery/holders", &sets) != nil {
		return nil, false // without the right to read it, the page shows numbers only
	}
	var names []string
	for _, set := range sets {
		for _, h := range set.Holders {
			if h.Name != "" && !slices.Contains(d.Progress.HoldersGiven, h.Name) {
				names = append(names, h.Name)
			}
		}
	}
	return names, len(names) > 0
}

func (u *UI) ceremonyPage(w http.ResponseWriter, r *http.Request) {
	q := &query{u: u, r: r, s: u.Sessions.find(r)}
	k, ok := kindOf(r.PathValue("kind"))
	if !ok {
		u.notFound(w, r)
		return
	}
	d, err := q.ceremonyState(k)
	u.showCeremony(w, r, d, err)
}

func (u *UI) showCeremony(w http.ResponseWriter, r *http.Request, d ceremonyData, err error) {
	v := view{Title: d.Kind.Title, Page: "ceremony", Data: d,
		CLI: []string{strings.ReplaceAll(d.Kind.CLI, "NONCE", orDash(d.Progress.Nonce))}}
	if err != nil {
		v.Problem = problemOf(err)
	}
	u.show(w, r, "ceremony", v)
}

func orDash(text string) string {
	if text == "" {
		return "..."
	}
	return text
}

func (u *UI) ceremonyProgress(w http.ResponseWriter, r *http.Request) {
	q := &query{u: u, r: r, s: u.Sessions.peek(r)}
	k, ok := kindOf(r.PathValue("kind"))
	if !ok {
		u.notFound(w, r)
		return
	}
	d, err := q.ceremonyState(k)
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	u.fragment(w, "ceremony", "progress", d)
}

// share makes the body of a given share.
func shareBody(f *form) ([]byte, error) {
	share := f.secret("share")
	if len(share) == 0 {
		return nil, &problem{Status: http.StatusBadRequest, Text: "Enter your share.", Field: "share"}
	}
	var o object
	o.secret("key", share)
	o.text("nonce", f.text("nonce"))
	return o.json(), nil
}

// post gives a share by a path, and decodes the answer.
func (q *query) give(path string, f *form) (p progress, err error) {
	body, err := shareBody(f)
	if err != nil {
		return p, err
	}
	defer clear(body)
	a, err := q.do(ask{method: http.MethodPost, path: path, body: body})
	if err != nil {
		return p, shareProblem(err)
	}
	defer clear(a.body)
	return p, a.decode(&p)
}

// shareProblem points at the field.
func shareProblem(err error) error {
	p := problemOf(err)
	if p.Status == http.StatusBadRequest {
		p.Field = "share"
	}
	return p
}

// giveShare gives a share, and shows the receipt, or what the last share made.
func (u *UI) giveShare(w http.ResponseWriter, r *http.Request, f *form) {
	q := &query{u: u, r: r, s: u.Sessions.find(r)}
	k, ok := kindOf(r.PathValue("kind"))
	if !ok {
		u.notFound(w, r)
		return
	}
	p, err := q.give(k.Path+"/update", f)
	if err != nil {
		d, stateErr := q.ceremonyState(k)
		if stateErr != nil {
			d = ceremonyData{Kind: k}
		}
		u.showCeremony(w, r, d, err)
		return
	}
	d, err := q.ceremonyState(k)
	d.Receipt = u.receipt(p.Nonce, "your share was accepted", p.HoldersGiven)
	switch {
	case p.Complete && k.renews:
		d.Receipt.What = "your share was the last one: the new shares are below"
		if p.VerificationRequired {
			d.Receipt.What += ", and become valid when they are verified"
		}
		d.Shares = newShares(p)
	case p.Complete && p.EncodedToken != "":
		d.Receipt.What = "your share was the last one: the encoded token is below"
		d.Encoded = p.EncodedToken
	case p.Complete && k.done != "":
		d.Receipt.What = k.done
	case p.Complete:
		d.Receipt.What = "your share was the last one: " + p.StartedBy + " may act now, until " + when(p.Expires)
	}
	u.showCeremony(w, r, d, err)
}

func (u *UI) receipt(nonce, what string, given []string) *receipt {
	return &receipt{Time: u.Now().UTC().Format("2006-01-02 15:04:05 UTC"), Nonce: nonce, What: what, Given: given}
}

// newShares pairs shares with the keys that they are encrypted to.
func newShares(p progress) []newShare {
	var all []newShare
	for i, text := range p.KeysBase64 {
		s := newShare{Number: i + 1, Share: text}
		if i < len(p.PGPFingerprints) {
			s.Fingerprint = p.PGPFingerprints[i]
			s.Command = fmt.Sprintf("base64 -d new-share-%d.txt | gpg --decrypt", i+1)
			if strings.Trim(s.Fingerprint, "0123456789abcdefABCDEF") != "" { // not a PGP fingerprint
				s.Command = fmt.Sprintf("base64 -d new-share-%d.txt | age --decrypt -i KEY-FILE", i+1)
			}
		}
		all = append(all, s)
	}
	return all
}

// verifyShare proves a new share.
func (u *UI) verifyShare(w http.ResponseWriter, r *http.Request, f *form) {
	q := &query{u: u, r: r, s: u.Sessions.find(r)}
	k, ok := kindOf(r.PathValue("kind"))
	if !ok || !k.renews {
		u.notFound(w, r)
		return
	}
	p, err := q.give(k.Path+"/verify", f)
	d, stateErr := q.ceremonyState(k)
	if stateErr != nil {
		d = ceremonyData{Kind: k}
	}
	if err == nil {
		d.Receipt = u.receipt(p.Nonce, "your new share is right", nil)
		if p.Complete {
			d.Receipt.What = "all needed shares were right: the new shares are in force now, and the old ones are worthless"
		}
	}
	u.showCeremony(w, r, d, err)
}

// proof is the answer to a proven share.
type proof struct {
	Proven             bool
	Target             string
	Generation, Number int
	Name               string
	Time               string
}

func (u *UI) provePage(w http.ResponseWriter, r *http.Request) { u.showProof(w, r, nil, nil) }

func (u *UI) showProof(w http.ResponseWriter, r *http.Request, p *proof, failed *problem) {
	u.show(w, r, "prove", view{Title: "Prove my share", Page: "prove", Data: p, Problem: failed,
		CLI: []string{"sealgate operator prove"}})
}

// prove checks a share for its holder. It authorises nothing.
func (u *UI) prove(w http.ResponseWriter, r *http.Request, f *form) {
	q := &query{u: u, r: r, s: u.Sessions.find(r)}
	share := f.secret("share")
	if len(share) == 0 {
		u.showProof(w, r, nil, &problem{Status: http.StatusBadRequest, Text: "Enter your share.", Field: "share"})
		return
	}
	var o object
	o.secret("key", share)
	body := o.json()
	defer clear(body)
	a, err := q.do(ask{method: http.MethodPost, path: "sys/recovery/prove", body: body})
	var p proof
	if err == nil {
		err = a.decode(&p)
	}
	if err != nil {
		u.showProof(w, r, nil, problemOf(shareProblem(err)))
		return
	}
	p.Time = u.Now().UTC().Format("2006-01-02 15:04:05 UTC")
	u.showProof(w, r, &p, nil)
}
