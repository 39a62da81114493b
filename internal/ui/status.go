package ui

import (
	"cmp"
	"net/http"
	"strings"
)

// sealStatus is sys/seal-status.
type sealStatus struct {
	Type             string
	Initialized      bool
	Sealed           bool
	T, N, Progress   int
	Nonce            string
	RecoverySeal     bool `json:"recovery_seal"`
	Version          string
	SealgateVersion  string `json:"sealgate_version"`
	ClusterName      string `json:"cluster_name"`
	ClusterID        string `json:"cluster_id"`
	StorageType      string `json:"storage_type"`
	Seals            []sealState
	Warnings         []string
	Standby          bool   // from sys/leader
	Leader           string // its address
	HA               bool
	WouldUnseal      bool
	SealsThatUnseal  int
	CustodiansNeeded bool // unsealing needs shares
}

// sealState is one seal.
type sealState struct {
	Name, Type    string
	WouldUnseal   bool    `json:"would_unseal"`
	LastProof     string  `json:"last_proof"`
	Times         []int64 `json:"proof_times_us"`
	Failing       string  `json:"failing_since"`
	Class         string  `json:"failure_class"`
	Cause         string  `json:"failure"`
	Remedy        string
	KeyID         string `json:"key_id"`
	KeyState      string `json:"key_state"`
	KeyProtection string `json:"key_protection"`
	Deletion      string `json:"key_deletion"`
	RewrapDue     bool   `json:"rewrap_due"`
	Configured    bool
	NeededKeys    []struct {
		KeyID string `json:"key_id"`
		For   string
	} `json:"needed_keys"`
}

// summary says the state in one sentence.
func (s *sealStatus) summary() string {
	switch {
	case !s.Initialized:
		return "This server has no data yet: it is not initialised."
	case s.Sealed && s.CustodiansNeeded:
		return "This server is sealed. It needs the shares of its custodians."
	case s.Sealed && len(s.Seals) > 0 && s.SealsThatUnseal == 0:
		return "This server is sealed, and no seal can unseal it now."
	case s.Sealed:
		return "This server is sealed."
	case s.Standby:
		return "This server is unsealed. It is a standby, and forwards requests to the leader."
	}
	return "This server is unsealed and active."
}

// forecast says what a restart would do, as far as this node knows.
func (s *sealStatus) forecast() string {
	switch {
	case !s.Initialized:
		return ""
	case s.CustodiansNeeded:
		return "After a restart it stays sealed until the custodians give their shares."
	case s.WouldUnseal:
		return "If it restarted now, it would unseal automatically."
	}
	return "If it restarted now, it would NOT unseal: do not restart it before the seals below work."
}

func (q *query) sealStatus() (*sealStatus, error) {
	s := &sealStatus{}
	if err := q.get("sys/seal-status", s); err != nil {
		return nil, err
	}
	s.Version = cmp.Or(s.SealgateVersion, s.Version)
	var backends struct {
		WouldUnseal bool `json:"would_unseal"`
	}
	if q.get("sys/seal-backend-status", &backends) == nil {
		s.WouldUnseal = backends.WouldUnseal
	}
	for _, one := range s.Seals {
		if one.WouldUnseal {
			s.SealsThatUnseal++
		}
	}
	s.CustodiansNeeded = s.Initialized && s.Type == "shamir" && !s.RecoverySeal
	var leader struct {
		HA      bool   `json:"ha_enabled"`
		IsSelf  bool   `json:"is_self"`
		Address string `json:"leader_address"`
	}
	if !s.Sealed && q.get("sys/leader", &leader) == nil {
		s.HA, s.Standby, s.Leader = leader.HA, leader.HA && !leader.IsSelf, leader.Address
	}
	return s, nil
}

// statusData is the first page.
type statusData struct {
	*sealStatus
	Summary, Forecast string
	Ceremonies        []ceremonyData
}

func (u *UI) status(w http.ResponseWriter, r *http.Request) {
	q := &query{u: u, r: r, s: u.Sessions.find(r)}
	v := view{Title: "Status", Page: "status", CLI: []string{"sealgate status"}}
	s, err := q.sealStatus()
	if err != nil {
		v.Problem = problemOf(err)
		u.show(w, r, "problem", v)
		return
	}
	d := statusData{sealStatus: s, Summary: s.summary(), Forecast: s.forecast()}
	if f := (forecast{}); q.s != nil && q.get("sys/seals/forecast", &f) == nil && f.Text != "" {
		d.Forecast = f.Text // of the whole cluster
	}
	if !s.Sealed && s.Initialized {
		for _, k := range kinds {
			var p progress
			if q.get(k.Path+"/"+k.Start, &p) == nil && p.Started {
				d.Ceremonies = append(d.Ceremonies, ceremonyData{Kind: k, Progress: p})
			}
		}
	}
	v.Data = d
	u.show(w, r, "status", v)
}

func (u *UI) unsealPage(w http.ResponseWriter, r *http.Request) { u.showUnseal(w, r, nil, nil) }

// unsealData is the page for unseal shares.
type unsealData struct {
	*sealStatus
	Receipt *receipt
}

func (u *UI) showUnseal(w http.ResponseWriter, r *http.Request, rec *receipt, failed error) {
	q := &query{u: u, r: r, s: u.Sessions.find(r)}
	v := view{Title: "Unseal", Page: "unseal", CLI: []string{"sealgate operator unseal"}}
	s, err := q.sealStatus()
	if err != nil {
		v.Problem = problemOf(err)
		u.show(w, r, "problem", v)
		return
	}
	if failed != nil {
		v.Problem = problemOf(failed)
	}
	v.Data = unsealData{sealStatus: s, Receipt: rec}
	u.show(w, r, "unseal", v)
}

func (u *UI) unseal(w http.ResponseWriter, r *http.Request, f *form) {
	q := &query{u: u, r: r}
	share := f.secret("share")
	if len(share) == 0 {
		u.showUnseal(w, r, nil, &problem{Status: http.StatusBadRequest, Text: "Enter your share.", Field: "share"})
		return
	}
	var o object
	o.secret("key", share)
	body := o.json()
	defer clear(body)
	a, err := q.do(ask{method: http.MethodPost, path: "sys/unseal", body: body})
	var s sealStatus
	if err == nil {
		err = a.decode(&s)
	}
	if err != nil {
		u.showUnseal(w, r, nil, shareProblem(err))
		return
	}
	what := "your share was accepted"
	if !s.Sealed {
		what = "your share was the last one: the server is unsealed"
	}
	u.showUnseal(w, r, u.receipt(s.Nonce, what, nil), nil)
}

// navigation lists the pages. Which of them a token may use is said on each page.
func navigation(in bool) []navGroup {
	all := []navGroup{{"", []navItem{
		{"", "Status"}, {"ceremony", "Ceremonies"}, {"prove", "Prove my share"},
	}}}
	if !in {
		return all
	}
	return append(all, navGroup{"Operate", pageItems("operate")}, navGroup{"Access", pageItems("access")},
		navGroup{"Data", append([]navItem{{"secrets/", "Secrets"}}, pageItems("data")...)},
		navGroup{"Gateway", pageItems("gateway")})
}

// pageItems lists the pages of a group.
func pageItems(group string) []navItem {
	var items []navItem
	for _, p := range pages {
		if p.group == group {
			items = append(items, navItem{p.slug, strings.ToUpper(p.title[:1]) + p.title[1:]})
		}
	}
	return items
}
