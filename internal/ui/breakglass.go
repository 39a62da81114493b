package ui

import "net/http"

// breakGlassState is sys/break-glass: recovery shares that unseal this node when its seals are
// lost.
type breakGlassState struct {
	Sealed, Allowed, Enrolled bool
	T, N, Progress            int
	Nonce                     string
	Unsealed                  bool `json:"unsealed_by_break_glass"`
	Receipt                   *receipt
}

func (u *UI) breakGlassPage(w http.ResponseWriter, r *http.Request) { u.showBreakGlass(w, r, nil, nil) }

func (u *UI) showBreakGlass(w http.ResponseWriter, r *http.Request, rec *receipt, failed error) {
	q := &query{u: u, r: r, s: u.Sessions.find(r)}
	v := view{Title: "Break-glass", Page: "unseal", CLI: []string{"sealgate operator break-glass"}}
	d := breakGlassState{Receipt: rec}
	if err := q.get("sys/break-glass", &d); err != nil {
		v.Problem = problemOf(err)
		u.show(w, r, "problem", v)
		return
	}
	if failed != nil {
		v.Problem = problemOf(failed)
	}
	v.Data = d
	u.show(w, r, "breakglass", v)
}

func (u *UI) breakGlass(w http.ResponseWriter, r *http.Request, f *form) {
	q := &query{u: u, r: r}
	share := f.secret("share")
	if len(share) == 0 {
		u.showBreakGlass(w, r, nil, &problem{Status: http.StatusBadRequest, Text: "Enter your share.", Field: "share"})
		return
	}
	var o object
	o.secret("key", share)
	body := o.json()
	defer clear(body)
	a, err := q.do(ask{method: http.MethodPost, path: "sys/break-glass", body: body})
	var s breakGlassState
	if err == nil {
		err = a.decode(&s)
	}
	if err != nil {
		u.showBreakGlass(w, r, nil, shareProblem(err))
		return
	}
	what := "your share was accepted"
	if !s.Sealed {
		what = "your share was the last one: the server is unsealed"
	}
	u.showBreakGlass(w, r, u.receipt(s.Nonce, what, nil), nil)
}
