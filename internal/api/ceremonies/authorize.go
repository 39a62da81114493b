package ceremonies

import (
	"context"
	"slices"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/recovery"
)

// Dual control: sys/authorize/<action> lets a quorum of shares authorise one call that is too much
// for one administrator. Neither Vault nor OpenBao has it; the paths are like those of
// generate-root.

var authorizeRoutes = slices.Concat(authorizeOf("raw", recovery.PurposeAuthorizeRaw, api.RawSwitch),
	authorizeOf("restore", recovery.PurposeAuthorizeRestore, api.NoSwitch),
	authorizeOf("seals", recovery.PurposeAuthorizeSeals, api.NoSwitch))

func authorizeOf(action string, p recovery.Purpose, s api.Switch) []api.Route {
	path := "sys/authorize/" + action + "/"
	return []api.Route{
		{Methods: api.Get, Path: path + "attempt", Access: api.Open, Style: api.BareStyle, Lifecycle: true, Switch: s,
			Guarded: true, Handle: authorizeStatus(p)},
		{Methods: api.Write, Path: path + "attempt", Body: startBody(p), Capability: policy.Update, Sudo: true,
			Style: api.BareStyle, Lifecycle: true, Switch: s, Guarded: true, Handle: authorizeStart(p)},
		{Methods: api.Remove, Path: path + "attempt", Body: api.SmallBody, Capability: policy.Delete, Sudo: true,
			Style: api.BareStyle, Lifecycle: true, Switch: s, Guarded: true, Handle: authorizeCancel(p)},
		{Methods: api.Write, Path: path + "update", Body: api.SmallBody, Access: api.Open, Style: api.BareStyle,
			Lifecycle: true, Switch: s, Shares: true, Guarded: true, Handle: authorizeUpdate(p)},
	}
}

// startBody is the size of the body that starts a ceremony: the seals' says which change is meant.
func startBody(p recovery.Purpose) int64 {
	if p == recovery.PurposeAuthorizeSeals {
		return api.SmallBody
	}
	return 0
}

func authorizeDocs() map[string]api.Doc {
	out := map[string]api.Doc{}
	for action, what := range map[string]string{
		"raw": "one call of sys/raw", "restore": "one restore by force",
		"seals": "one removal of a seal, or one lowering of the seal policy",
	} {
		path := "sys/authorize/" + action + "/"
		out[path+"attempt"] = api.Doc{Text: "A ceremony that authorises " + what + ", for the token that starts it.",
			Body: []api.DocField{{"nonce", "string", "To cancel: the nonce of the ceremony."}}}
		if action == "seals" {
			out[path+"attempt"] = api.Doc{Text: out[path+"attempt"].Text, Body: append(out[path+"attempt"].Body, api.DocField{
				"change", "string", "To start: the change, as in \"remove hsm\" or \"policy 1\"; no other is allowed then."})}
		}
		out[path+"update"] = api.Doc{Text: "Gives one share to authorise " + what + ".", Body: shareFields, Read: true}
	}
	return out
}

type authorizeAnswer struct {
	Nonce        string   `json:"nonce"`
	Started      bool     `json:"started"`
	StartedBy    string   `json:"started_by"` // the display name of the token that will use it
	Progress     int      `json:"progress"`
	Required     int      `json:"required"`
	Complete     bool     `json:"complete"`
	Expires      string   `json:"expires"`          // of the authorisation, once complete
	Change       string   `json:"change,omitempty"` // what is authorised
	HoldersGiven []string `json:"holders_given,omitempty"`
}

func authorizeShown(s ceremony.GrantStatus) (*api.Answer, error) {
	return api.Show(authorizeAnswer{
		Nonce: s.Nonce, Started: s.Started, StartedBy: s.StartedBy, Progress: s.Progress, Required: s.Required,
		Complete: s.Complete, Expires: formatTime(s.Expires), Change: s.Change, HoldersGiven: s.HoldersGiven,
	})
}

func authorizeStatus(p recovery.Purpose) api.Handle {
	return func(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
		s, err := h.Node.Ceremonies().Grants.Status(ctx, p)
		if err != nil {
			return nil, err
		}
		if !showsHolders(ctx, q) {
			s.HoldersGiven, s.StartedBy = nil, ""
		}
		return authorizeShown(s)
	}
}

func authorizeStart(p recovery.Purpose) api.Handle {
	return func(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
		what, err := subject(ctx, h, q, p)
		if err != nil {
			return nil, err
		}
		s, err := h.Node.Ceremonies().Grants.Start(ctx, p, what, starter(q))
		if err != nil {
			return nil, err
		}
		return authorizeShown(s)
	}
}

// subject reads the change of the seals that is to be authorised.
func subject(
	ctx context.Context, h *api.Handler, q *api.Request, p recovery.Purpose,
) (what ceremony.Subject, err error) {
	if p != recovery.PurposeAuthorizeSeals {
		return what, nil
	}
	data, err := q.Object()
	if err != nil {
		return what, err
	}
	var text string
	if err := field.Map(data).Text("change", &text); err != nil {
		return what, err
	}
	return node.SealAdminOf(h.Node).Subject(ctx, text)
}

func authorizeCancel(p recovery.Purpose) api.Handle {
	return func(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
		var b shareBody
		if err := q.Strict(&b); err != nil {
			return nil, err
		}
		if err := h.Node.Ceremonies().Grants.Cancel(ctx, p, b.Nonce, starter(q)); err != nil {
			return nil, err
		}
		return api.Done()
	}
}

func authorizeUpdate(p recovery.Purpose) api.Handle {
	return func(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
		nonce, share, err := givenShare(q, missing{})
		if err != nil {
			return nil, err
		}
		defer share.Destroy()
		s, err := h.Node.Ceremonies().Grants.Give(ctx, p, nonce, share)
		if err != nil {
			return nil, err
		}
		return authorizeShown(s)
	}
}
