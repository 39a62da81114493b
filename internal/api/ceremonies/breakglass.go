package ceremonies

import (
	"context"
	"slices"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/recovery"
)

// sys/break-glass/enroll and sys/break-glass/remove let a quorum of recovery shares decide whether
// its shares can decrypt. Neither Vault nor OpenBao has it; the paths are like those of
// sys/authorize.

var breakGlassRoutes = slices.Concat(enrolmentOf("enroll", recovery.PurposeBreakGlassEnroll),
	enrolmentOf("remove", recovery.PurposeBreakGlassRemove))

func enrolmentOf(action string, p recovery.Purpose) []api.Route {
	path := "sys/break-glass/" + action + "/"
	return []api.Route{
		{Methods: api.Get, Path: path + "attempt", Access: api.Open, Style: api.BareStyle, Lifecycle: true,
			Guarded: true, Handle: enrolmentStatus(p)},
		{Methods: api.Write, Path: path + "attempt", Capability: policy.Update, Sudo: true, Style: api.BareStyle,
			Lifecycle: true, Guarded: true, Handle: enrolmentStart(p)},
		{Methods: api.Remove, Path: path + "attempt", Body: api.SmallBody, Capability: policy.Delete, Sudo: true,
			Style: api.BareStyle, Lifecycle: true, Guarded: true, Handle: enrolmentCancel(p)},
		{Methods: api.Write, Path: path + "update", Body: api.SmallBody, Access: api.Open, Style: api.BareStyle,
			Lifecycle: true, Shares: true, Guarded: true, Handle: enrolmentUpdate(p)},
	}
}

func enrolmentDocs() map[string]api.Doc {
	out := map[string]api.Doc{}
	for action, what := range map[string]string{
		"enroll": "enrols the holders of the recovery shares for break-glass, so that their shares can decrypt",
		"remove": "ends the enrolment of the holders of the recovery shares for break-glass",
	} {
		path := "sys/break-glass/" + action + "/"
		out[path+"attempt"] = api.Doc{Text: "A ceremony that " + what + ".",
			Body: []api.DocField{{"nonce", "string", "To cancel: the nonce of the ceremony."}}}
		out[path+"update"] = api.Doc{Text: "Gives one share to a ceremony that " + what + ".", Body: shareFields, Read: true}
	}
	return out
}

type enrolmentAnswer struct {
	Nonce        string   `json:"nonce"`
	Started      bool     `json:"started"`
	StartedBy    string   `json:"started_by"`
	Progress     int      `json:"progress"`
	Required     int      `json:"required"`
	Complete     bool     `json:"complete"`
	Enrolled     *bool    `json:"enrolled,omitempty"` // for a client with a token, and once complete
	HoldersGiven []string `json:"holders_given,omitempty"`
}

func enrolmentShown(s ceremony.EnrolmentStatus, enrolled bool) (*api.Answer, error) {
	a := enrolmentAnswer{
		Nonce: s.Nonce, Started: s.Started, StartedBy: s.StartedBy, Progress: s.Progress, Required: s.Required,
		Complete: s.Complete, HoldersGiven: s.HoldersGiven,
	}
	if enrolled {
		a.Enrolled = &s.Enrolled
	}
	return api.Show(a)
}

func enrolmentStatus(p recovery.Purpose) api.Handle {
	return func(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
		s, err := h.Node.Ceremonies().Enrolment.Status(ctx, p)
		if err != nil {
			return nil, err
		}
		known := showsHolders(ctx, q)
		if !known {
			s.HoldersGiven, s.StartedBy = nil, ""
		}
		return enrolmentShown(s, known)
	}
}

func enrolmentStart(p recovery.Purpose) api.Handle {
	return func(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
		s, err := h.Node.Ceremonies().Enrolment.Start(ctx, p, starter(q))
		if err != nil {
			return nil, err
		}
		return enrolmentShown(s, true)
	}
}

func enrolmentCancel(p recovery.Purpose) api.Handle {
	return func(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
		var b shareBody
		if err := q.Strict(&b); err != nil {
			return nil, err
		}
		if err := h.Node.Ceremonies().Enrolment.Cancel(ctx, p, b.Nonce, starter(q)); err != nil {
			return nil, err
		}
		return api.Done()
	}
}

func enrolmentUpdate(p recovery.Purpose) api.Handle {
	return func(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
		nonce, share, err := givenShare(q, missing{})
		if err != nil {
			return nil, err
		}
		defer share.Destroy()
		s, err := h.Node.Ceremonies().Enrolment.Give(ctx, p, nonce, share)
		if err != nil {
			return nil, err
		}
		return enrolmentShown(s, s.Complete)
	}
}
