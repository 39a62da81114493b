package ui

import (
	"errors"
	"net/http"
	"strconv"
	"time"
)

// keysData is the page of keys.
type keysData struct {
	Status struct {
		Term        int
		InstallTime string `json:"install_time"`
		Encryptions int64
		Limit       float64 `json:"encryption_limit"`
		Remaining   int64   `json:"encryptions_remaining"`
		Exact       bool
		Counting    bool
		Terms       []keyTerm
	}
	Rotation struct {
		Enabled       bool
		Interval      any
		MaxOperations int64 `json:"max_operations"`
	}
	Rewrap  dataRewrap
	Retire  struct{ Warnings []string }
	Share   float64 // of the encryptions after which the key is rotated
	Known   bool    // the entries of each term
	Entries plot
}

type keyTerm struct {
	Term        int
	Active      bool
	InstallTime string `json:"install_time"`
	Encryptions int64
	Entries     *int64
	Bytes       *int64
}

// dataRewrap is the answer of sys/rotate/rewrap.
type dataRewrap struct {
	State     string
	Phase     string
	Target    int `json:"target_term"`
	Entries   int64
	Remaining *int64
	Percent   *float64
	PerSecond float64  `json:"entries_per_second"`
	Estimate  *float64 `json:"estimated_seconds"`
	Started   string
	Ended     string
	Retired   []int `json:"retired_terms"`
	Damaged   []string
	Problem   string
	Change    []struct{ What, Do string } `json:"change_outside"`
}

// Share is how much is done, in percent.
func (r dataRewrap) Share() float64 {
	if r.Percent == nil {
		return 0
	}
	return *r.Percent
}

// Left is the estimate in words, "" where there is none.
func (r dataRewrap) Left() string {
	if r.Estimate == nil {
		return ""
	}
	return time.Duration(*r.Estimate * float64(time.Second)).Round(time.Second).String()
}

// keysState reads what the page of keys shows.
func (q *query) keysState() (*keysData, error) {
	var d keysData
	if err := q.get("sys/key-status", &d.Status); err != nil {
		return nil, err
	}
	var counts []int64
	var labels []string
	for _, t := range d.Status.Terms {
		if t.Entries == nil {
			return &d, q.keysRest(&d)
		}
		counts, labels = append(counts, *t.Entries), append(labels, strconv.Itoa(t.Term))
	}
	d.Known = true
	first := max(0, len(counts)-shownBars)
	d.Entries = plotOf("term", labels[first:], counts[first:])
	return &d, q.keysRest(&d)
}

// keysRest reads what needs other policies.
func (q *query) keysRest(d *keysData) error {
	err := errors.Join(q.get("sys/rotate/config", &d.Rotation), q.get("sys/rotate/rewrap", &d.Rewrap),
		q.get("sys/rotate/retire", &d.Retire))
	if d.Rotation.MaxOperations > 0 {
		d.Share = 100 * float64(d.Status.Encryptions) / float64(d.Rotation.MaxOperations)
	}
	return err
}

// keysProgress is the part of the page that changes while data is rewrapped.
func (u *UI) keysProgress(w http.ResponseWriter, r *http.Request) {
	q := &query{u: u, r: r, s: u.Sessions.peek(r)}
	d, err := q.keysState()
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	u.fragment(w, "keys", "terms", d)
}

func keysPage() *page {
	return &page{
		slug: "keys", title: "keys", group: "operate",
		intro: "New data is encrypted with the newest term of the keyring. Older terms stay readable until all data is " +
			"rewrapped and they are destroyed. None of it touches shares or seals.",
		cli: []string{"sealgate operator key-status", "sealgate operator rewrap status", "sealgate read sys/rotate/config"},
		load: func(q *query) (any, error) {
			d, err := q.keysState()
			if d == nil {
				return nil, err
			}
			return d, err
		},
		actions: append(keyActions, rewrapActions...),
	}
}

var keyActions = []action{
	{
		Name: "rotate", Title: "Rotate the data key", Path: "sys/rotate", Sudo: true, CLI: "sealgate operator rotate",
		Intro: "Adds a term. It takes a moment, and the server continues to serve.",
		Done:  "The data key was rotated: new data is encrypted with the new term.",
	},
	{
		Name: "root", Title: "Renew the root key", Path: "sys/rotate/root", Sudo: true,
		Intro: "Makes a new root key and wraps it with the seals. Needs no shares; the shares stay valid.",
		CLI:   "sealgate write -force sys/rotate/root", Done: "The root key was renewed.",
	},
	{
		Name: "config", Title: "Save the rotation's limits", Path: "sys/rotate/config",
		CLI: "sealgate write sys/rotate/config max_operations=<max_operations> interval=<interval> enabled=<enabled>",
		Fields: []field{
			{Name: "enabled", Label: "Rotate automatically", Kind: "flag", Value: "on"},
			{Name: "max_operations", Label: "After this many encryptions", Kind: "number", Value: "3865470566"},
			{Name: "interval", Label: "After this time", Kind: "text", Value: "0", Hint: "Such as 720h; 0 for never."},
		},
		Done: "The limits are saved.",
	},
}

var rewrapActions = []action{
	{
		Name: "rewrap", Title: "Rewrap all data", Path: "sys/rotate/rewrap", Sudo: true,
		CLI: "sealgate operator rewrap start -rate=<rate> -retire=<retire>",
		Intro: "Encrypts all entries of older terms again, in the background. Requests of clients come first. It continues " +
			"after a restart, and when another node leads.",
		Fields: []field{
			{Name: "rate", Label: "Entries per second at most", Kind: "number", Value: "0",
				Hint: "0: as many as requests allow."},
			{Name: "retire", Label: "Then destroy the older terms", Kind: "flag"},
		},
		Done: "The rewrap has begun.",
	},
	{
		Name: "pause", Title: "Pause the rewrap", Path: "sys/rotate/rewrap/pause", Sudo: true,
		CLI: "sealgate operator rewrap pause", Done: "The rewrap is paused.",
	},
	{
		Name: "resume", Title: "Resume the rewrap", Path: "sys/rotate/rewrap/resume", Sudo: true,
		CLI: "sealgate operator rewrap resume", Done: "The rewrap continues.",
	},
	{
		Name: "cancel", Title: "End the rewrap", Path: "sys/rotate/rewrap/cancel", Sudo: true,
		CLI: "sealgate operator rewrap cancel", Done: "The rewrap has ended. What it has done stays.",
	},
	{
		Name: "retire", Title: "Destroy the older terms", Path: "sys/rotate/retire", Sudo: true, Danger: true,
		Intro: "Removes the keys of the older terms from the keyring, once a count has shown that no entry needs one.",
		CLI:   "sealgate operator retire -yes", Confirm: "destroy", Done: "The older terms are being destroyed.",
	},
}
