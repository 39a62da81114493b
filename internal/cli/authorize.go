package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

type authorizeFlags struct {
	init, cancel, status bool
	purpose, nonce       string
	change               string
}

// modes is how many of -init, -cancel and -status are given.
func (f *authorizeFlags) modes() (n int) {
	for _, on := range []bool{f.init, f.cancel, f.status} {
		if on {
			n++
		}
	}
	return n
}

// authorize is one run of a command by which a quorum authorises something.
type authorize struct {
	*base
	*authorizeFlags
	client  *api.Client
	path    string // below which attempt and update are
	command string // "operator authorize -purpose=raw"
	what    string // "authorization"
}

// authorizeStatus is the response of sys/authorize/<purpose>/attempt and .../update.
type authorizeStatus struct {
	Nonce        string   `json:"nonce"`
	Started      bool     `json:"started"`
	StartedBy    string   `json:"started_by"`
	Given        int      `json:"progress"`
	Required     int      `json:"required"`
	Complete     bool     `json:"complete"`
	Expires      string   `json:"expires"`
	Change       string   `json:"change,omitempty"`
	Enrolled     *bool    `json:"enrolled,omitempty"` // of break-glass alone
	HoldersGiven []string `json:"holders_given,omitempty"`
}

func (s *authorizeStatus) progress() progress {
	return progress{s.Complete, s.Given, s.Required, s.HoldersGiven}
}

// authorizePurposes are the values of -purpose.
var authorizePurposes = []string{"raw", "restore", "seals"}

func authorizeCommand(b *base) *command {
	b.formatted()
	f := &authorizeFlags{}
	b.flags.StringVar(&f.purpose, "purpose", "", "what to authorise: `raw`, restore or seals")
	b.flags.BoolVar(&f.init, "init", false, "start, with the token that will make the call")
	b.flags.BoolVar(&f.cancel, "cancel", false, "cancel")
	b.flags.BoolVar(&f.status, "status", false, "show the status")
	b.flags.StringVar(&f.nonce, "nonce", "", "`nonce` of the operation")
	b.flags.StringVar(&f.change, "change", "", "with -purpose=seals -init: the `change`, as in \"remove hsm\", "+
		"\"add custodians\", \"policy 1\"")
	b.own("purpose", "init", "cancel", "status", "nonce", "change")
	b.nonEmpty("purpose", "nonce", "change")
	return &command{base: b, name: "operator authorize", args: "[KEY | - | @file]", most: 1,
		synopsis: "Authorize one critical call with a quorum of shares",
		about: `Authorizes one call that is too critical for one administrator: a call of sys/raw (-purpose=raw), a restore of
a snapshot by force (-purpose=restore), or one change of the seals that lessens protection (-purpose=seals): the removal
of a seal, a weaker policy, or custodians as a seal. -change names that change; each holder sees it, and no other is
allowed: "remove NAME", "add NAME", "add NAME: POLICY", "policy THRESHOLD", "policy POLICY" or "retire NAME: KEY".
The call is allowed once, within 10 minutes after the last share, and only with the token that started. It needs
"update" and "sudo" on sys/authorize/<purpose>/attempt.

    $ sealgate operator authorize -purpose=restore -init         (shows the nonce)
    $ sealgate operator authorize -purpose=restore -nonce=...    (each holder of a share)
    $ sealgate operator snapshot restore -force backup.snap

    $ sealgate operator authorize -purpose=seals -init -change="remove hsm"

The command prompts for a share and does not echo it; "-" reads shares from standard input and "@file" from a
file, one per line.`,
		run: func(args []string) int { return runAuthorize(b, f, args) }}
}

func runAuthorize(b *base, f *authorizeFlags, args []string) int {
	switch {
	case !slices.Contains(authorizePurposes, f.purpose):
		b.errorf("Error: specify what to authorize with -purpose=%s", strings.Join(authorizePurposes, " or -purpose="))
		return exitLocal
	case (f.change != "") != (f.purpose == "seals" && f.init):
		b.errorf("Error: -change belongs to -purpose=seals -init: it says which change of the seals is to be authorized, " +
			"as in -change=\"remove hsm\"")
		return exitLocal
	}
	a := &authorize{base: b, authorizeFlags: f, path: "sys/authorize/" + f.purpose,
		command: "operator authorize -purpose=" + f.purpose, what: "authorization"}
	return a.run(args)
}

func (a *authorize) run(args []string) int {
	if a.modes() > 1 {
		a.errorf("Error: -init, -cancel and -status exclude each other")
		return exitLocal
	}
	return a.withClient(func(client *api.Client) int {
		a.client = client
		switch {
		case a.init:
			return a.start()
		case a.cancel:
			return a.stop()
		case a.status:
			return a.showStatus()
		}
		return a.give(args)
	})
}

// send sends one request. step is "attempt" or "update".
func (a *authorize) send(ctx context.Context, method, step string, in, out any) error {
	return callWith(ctx, a.client, method, a.path+"/"+step, in, out)
}

func (a *authorize) current() (*authorizeStatus, error) {
	s := &authorizeStatus{}
	return s, a.send(context.Background(), http.MethodGet, "attempt", nil, s)
}

func (a *authorize) start() int {
	s := &authorizeStatus{}
	var body any
	if a.change != "" {
		body = map[string]string{"change": a.change}
	}
	if err := a.send(context.Background(), http.MethodPut, "attempt", body, s); err != nil {
		return a.fail("starting the "+a.what, err)
	}
	return a.show(s)
}

func (a *authorize) stop() int {
	var body any
	if a.nonce != "" {
		body = map[string]string{"nonce": a.nonce}
	}
	if err := a.send(context.Background(), http.MethodDelete, "attempt", body, nil); err != nil {
		return a.fail("canceling the "+a.what, err)
	}
	a.printf("Success! %s canceled (if it was started)\n", strings.ToUpper(a.what[:1])+a.what[1:])
	return exitOK
}

func (a *authorize) showStatus() int {
	s, err := a.current()
	if err != nil {
		return a.fail("getting the status of the "+a.what, err)
	}
	return a.show(s)
}

// again is the command line that continues.
func (a *authorize) again(nonce string) string {
	text := a.command
	if nonce != "" {
		text += " -nonce=" + nonce
	}
	return text
}

// give gives shares to the operation in progress.
func (a *authorize) give(args []string) int {
	s, err := a.current()
	if err != nil {
		return a.fail("getting the status of the "+a.what, err)
	}
	switch {
	case !s.Started && a.nonce == "":
		a.errorf("No %s is in progress. Start one with:\n\n    sealgate %s -init\n\n"+
			"It shows the nonce that each holder of a share needs.", a.what, a.again(""))
		return exitLocal
	case len(args) > 0 && a.nonce == "":
		a.errorf("Missing nonce value: specify it via the -nonce flag")
		return exitLocal
	}
	nonce := cmp.Or(a.nonce, s.Nonce)
	if len(args) == 0 {
		a.errorf("Operation nonce: %s%s", nonce, startedBy(s))
		if s.Change != "" {
			a.errorf("To authorize: %s", s.Change)
		}
	}
	last := s
	_, code := a.gather(quorum{
		command: a.again(nonce), question: "Unseal or Recovery Key (will be hidden): ", doing: "posting the share",
		args: args, result: "the status",
		give: func(ctx context.Context, share string) (progress, error) {
			answer := &authorizeStatus{}
			err := a.send(ctx, http.MethodPut, "update", map[string]string{"key": share, "nonce": nonce}, answer)
			if err != nil {
				return progress{}, err
			}
			last = answer
			return answer.progress(), nil
		},
		status: func() (progress, error) {
			answer, err := a.current()
			if err != nil {
				return progress{}, err
			}
			last = answer
			return answer.progress(), nil
		},
	})
	if code != exitOK {
		return code
	}
	return a.show(last)
}

func startedBy(s *authorizeStatus) string {
	if s.StartedBy == "" {
		return ""
	}
	return ", started by " + s.StartedBy
}

// show prints a status.
func (a *authorize) show(s *authorizeStatus) int {
	if a.format() != "table" {
		return a.encode(s)
	}
	var p pairs
	p.add("Nonce", s.Nonce)
	p.add("Started", s.Started)
	if s.StartedBy != "" {
		p.add("Started By", s.StartedBy)
	}
	if s.Change != "" {
		p.add("Change", s.Change)
	}
	p.add("Progress", fmt.Sprintf("%d/%d", s.Given, s.Required))
	p.add("Complete", s.Complete)
	if s.Expires != "" {
		p.add("Expires", s.Expires)
	}
	if s.Enrolled != nil {
		p.add("Enrolled", yesNo(*s.Enrolled))
	}
	a.printf("%s", columns(p))
	return exitOK
}
