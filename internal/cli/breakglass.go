package cli

import (
	"context"
	"fmt"
	"net/http"

	"github.com/openbao/openbao/api/v2"
)

// breakGlassState is the response of sys/break-glass.
type breakGlassState struct {
	Sealed          bool   `json:"sealed"`
	Allowed         bool   `json:"allowed"`
	Enrolled        bool   `json:"enrolled"`
	T               int    `json:"t"`
	N               int    `json:"n"`
	Progress        int    `json:"progress"`
	Nonce           string `json:"nonce"`
	ShareGeneration uint64 `json:"share_generation,omitempty"`
	Unsealed        bool   `json:"unsealed_by_break_glass"`
}

func (s *breakGlassState) progress() progress {
	return progress{done: !s.Sealed, given: s.Progress, needed: s.T}
}

func breakGlassCommand(b *base) *command {
	b.formatted()
	reset := false
	b.flags.BoolVar(&reset, "reset", false, "discard the shares given so far; it takes a share too")
	b.own("reset")
	return &command{base: b, name: "operator break-glass", args: "[KEY | - | @file]", most: 1,
		synopsis: "Unseal a server whose seals are lost, with recovery shares",
		about: `Gives one recovery share to a sealed server whose seals have all failed. A quorum of shares unseals it, if
their holders had enrolled for that ("operator break-glass enroll"), and if break_glass = true is in the configuration
of the node. The record of who did it is in the transcript before the server serves a request. It needs no token.

The shares belong to one node: use the address of the node itself, and unseal each node of a cluster. A seal is lost
for good only when its provider says so; try that first. Afterwards add a new seal in place of the lost ones:

    $ sealgate operator break-glass                              (each holder of a share)
    $ sealgate operator authorize -purpose=seals -init -change="replace LOST with NAME"
    $ sealgate operator authorize -purpose=seals -nonce=...      (each holder of a share)
    $ sealgate operator seals add NAME -replaces=LOST

The command prompts for a share and does not echo it; "-" reads shares from standard input and "@file" from a
file, one per line.`,
		run: func(args []string) int {
			return b.withClient(func(client *api.Client) int { return giveBreakGlass(b, client, reset, args) })
		}}
}

func giveBreakGlass(b *base, client *api.Client, reset bool, args []string) int {
	last := &breakGlassState{}
	client.ClearNamespace()
	_, code := b.gather(quorum{
		command: "operator break-glass", question: "Recovery Key (will be hidden): ", doing: "posting the share",
		args: args, result: "the status",
		give: func(ctx context.Context, share string) (progress, error) {
			answer := &breakGlassState{}
			body := map[string]any{"key": share, "reset": reset}
			if err := callWith(ctx, client, http.MethodPut, "sys/break-glass", body, answer); err != nil {
				return progress{}, err
			}
			last = answer
			if reset {
				return progress{done: true}, nil
			}
			return answer.progress(), nil
		},
		status: func() (progress, error) {
			answer := &breakGlassState{}
			if err := call(client, http.MethodGet, "sys/break-glass", nil, answer); err != nil {
				return progress{}, err
			}
			last = answer
			return answer.progress(), nil
		},
	})
	if code != exitOK {
		return code
	}
	return showBreakGlass(b, last)
}

func breakGlassStatusCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator break-glass status",
		synopsis: "Show whether recovery shares can unseal this server",
		about: `Shows whether the holders of the recovery shares are enrolled for break-glass, and the shares given to a
sealed server so far. While the server is unsealed it needs "read" on sys/seals/forecast; while it is sealed, it
needs no token.`,
		run: func([]string) int {
			return b.withClient(func(client *api.Client) int { return breakGlassStatus(b, client) })
		}}
}

func breakGlassStatus(b *base, client *api.Client) int {
	client.ClearNamespace()
	s := &breakGlassState{}
	if err := call(client, http.MethodGet, "sys/break-glass", nil, s); err != nil {
		return b.fail("reading the status of break-glass", err)
	}
	if s.Sealed {
		return showBreakGlass(b, s)
	}
	var f struct {
		Survives bool   `json:"survives_all_seals"`
		Text     string `json:"survives_text"`
	}
	if err := callData(context.Background(), client, http.MethodGet, "sys/seals/forecast", nil, &f); err != nil {
		return b.fail("reading the status of break-glass", err)
	}
	if b.format() != "table" {
		return b.encode(map[string]any{"sealed": false, "allowed": s.Allowed, "unsealed_by_break_glass": s.Unsealed,
			"survives_all_seals": f.Survives, "survives_text": f.Text})
	}
	var p pairs
	p.add("Sealed", false)
	p.add("Allowed On This Node", yesNo(s.Allowed))
	p.add("Loss Of Every Seal", f.Text)
	if s.Unsealed {
		p.add("Unsealed By", "break-glass; no seal would unseal this server")
	}
	b.printf("%s", columns(p))
	return exitOK
}

func showBreakGlass(b *base, s *breakGlassState) int {
	if b.format() != "table" {
		return b.encode(s)
	}
	var p pairs
	p.add("Sealed", s.Sealed)
	if !s.Sealed {
		p.add("Unsealed By Break-Glass", yesNo(s.Unsealed))
		b.printf("%s", columns(p))
		return exitOK
	}
	p.add("Allowed On This Node", yesNo(s.Allowed))
	p.add("Enrolled", yesNo(s.Enrolled))
	if s.Enrolled {
		p.add("Shares", fmt.Sprintf("%d of %d, generation %d", s.T, s.N, s.ShareGeneration))
		p.add("Progress", fmt.Sprintf("%d/%d", s.Progress, s.T))
	}
	if s.Nonce != "" {
		p.add("Nonce", s.Nonce)
	}
	b.printf("%s", columns(p))
	return exitOK
}

func breakGlassEnrollCommand(b *base) *command {
	return enrolmentCommand(b, "enroll", "enrolment", "Enroll the holders of the recovery shares for break-glass",
		`Enrolls the holders of the recovery shares, so that a quorum of their shares can decrypt: it unseals the server
when every seal is lost. Without the enrolment the data is lost with the seals. From then on the shares are as
valuable as the seals: a quorum of them and a copy of the storage suffice to read all data.`)
}

func breakGlassRemoveCommand(b *base) *command {
	return enrolmentCommand(b, "remove", "removal", "End the enrolment for break-glass",
		`Ends the enrolment of the holders of the recovery shares: their shares decrypt nothing that is written from now
on. The root key and the barrier key are renewed in the same commit, which needs every seal. Copies of the storage from
before still open with the shares.`)
}

func enrolmentCommand(b *base, action, what, synopsis, about string) *command {
	b.formatted()
	f := &authorizeFlags{}
	b.flags.BoolVar(&f.init, "init", false, "start")
	b.flags.BoolVar(&f.cancel, "cancel", false, "cancel")
	b.flags.BoolVar(&f.status, "status", false, "show the status")
	b.flags.StringVar(&f.nonce, "nonce", "", "`nonce` of the operation")
	b.own("init", "cancel", "status", "nonce")
	b.nonEmpty("nonce")
	name := "operator break-glass " + action
	return &command{base: b, name: name, args: "[KEY | - | @file]", most: 1, synopsis: synopsis,
		about: about + `

    $ sealgate ` + name + ` -init         (shows the nonce)
    $ sealgate ` + name + ` -nonce=...    (each holder of a share)

It needs a quorum of shares, besides "update" and "sudo" on sys/break-glass/` + action + `/attempt. The shares stay in
the memory of the active node until the last one: after a change of leader, start again.

The command prompts for a share and does not echo it; "-" reads shares from standard input and "@file" from a
file, one per line.`,
		run: func(args []string) int {
			a := &authorize{base: b, authorizeFlags: f, path: "sys/break-glass/" + action, command: name, what: what}
			return a.run(args)
		}}
}
