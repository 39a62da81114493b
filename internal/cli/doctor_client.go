package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/openbao/openbao/api/v2"

	"github.com/sealgate/sealgate/internal/clients"
)

// verdict is the result of one step of a client.
type verdict struct {
	Step     string `json:"step"`
	Method   string `json:"method"`
	Path     string `json:"path"`
	Result   string `json:"result"` // "ok", "allowed", "missing", "failed", "unknown"
	Text     string `json:"text,omitempty"`
	Policy   string `json:"policy,omitempty"`   // the line that is missing
	Optional string `json:"optional,omitempty"` // what the step is for, where the client works without it
}

// The results of a step. "allowed" is a step that changes data and was not tried.
const (
	stepOK      = "ok"
	stepAllowed = "allowed"
	stepMissing = "missing"
	stepFailed  = "failed"
	stepUnknown = "unknown"
)

// clientReport is the output of doctor client.
type clientReport struct {
	Client string    `json:"client"`
	OK     bool      `json:"ok"`
	Steps  []verdict `json:"steps"`
	Note   string    `json:"note,omitempty"`
}

func doctorClientCommand(b *base) *command {
	f := &clientFlags{}
	b.formatted()
	f.define(b)
	return &command{base: b, name: "doctor client", args: "CLIENT", least: 1, most: 1,
		synopsis: "Check whether a token has what a known client needs",
		about: `Makes the calls that a known client makes, with the token of this command line, and prints the policy line
that is missing. It changes no data: of calls that would, it asks the token's capabilities. For clients that sign, the
key signs the digest of a fixed text. Exit code 2 means that the client would not work.

  $ SEALGATE_TOKEN=... sealgate doctor client sops -mount=transit -key=app

The clients:

` + clientList(),
		run: func(args []string) int {
			c, ok := f.find(b, args[0])
			if !ok {
				return exitLocal
			}
			return b.withClient(func(client *api.Client) int {
				r, err := examineClient(client, c)
				if err != nil {
					return b.fail("checking the client "+c.Name, err)
				}
				return showClientReport(b, r)
			})
		}}
}

// clientExam makes one client's calls.
type clientExam struct {
	api  *api.Client
	caps map[string][]string // of the token, by path; nil if the token may not ask
	kept map[string]string   // fields of answers
}

func examineClient(client *api.Client, c clients.Client) (*clientReport, error) {
	client.SetMaxRetries(0)
	e := &clientExam{api: client, kept: map[string]string{}}
	if err := e.askCapabilities(c); err != nil {
		return nil, err
	}
	r := &clientReport{Client: c.Name, OK: true, Note: c.Note}
	for _, s := range c.Steps {
		v, err := e.step(s)
		if err != nil {
			return nil, err
		}
		r.Steps = append(r.Steps, v)
		bad := v.Result == stepMissing || v.Result == stepFailed
		r.OK = r.OK && (!bad || s.Optional != "")
	}
	return r, nil
}

// askCapabilities asks for all paths at once. A token without the default policy may not be allowed
// to.
func (e *clientExam) askCapabilities(c clients.Client) error {
	var paths []string
	for _, s := range c.Steps {
		if !slices.Contains(paths, s.Path) {
			paths = append(paths, s.Path)
		}
	}
	s, err := send(e.api, http.MethodPost, "sys/capabilities-self", map[string]any{"paths": paths})
	if answered(err) == http.StatusForbidden {
		return nil
	}
	if err != nil || s == nil {
		return err
	}
	e.caps = map[string][]string{}
	for _, path := range paths {
		all, _ := s.Data[path].([]any)
		if all == nil && len(paths) == 1 {
			all, _ = s.Data["capabilities"].([]any)
		}
		e.caps[path] = []string{} // an answer that does not name the path grants nothing
		for _, one := range all {
			e.caps[path] = append(e.caps[path], fmt.Sprint(one))
		}
	}
	return nil
}

// answered is the HTTP status of an error, 0 where the server did not answer.
func answered(err error) int {
	var r *api.ResponseError
	if errors.As(err, &r) {
		return r.StatusCode
	}
	return 0
}

// step judges one step. The error is one of the connection.
func (e *clientExam) step(s clients.Step) (verdict, error) {
	v := verdict{Step: s.About, Method: s.Method, Path: s.Path, Optional: s.Optional, Result: stepUnknown}
	if e.caps != nil && !covers(e.caps[s.Path], s.Needs) {
		v.Result, v.Policy = stepMissing, s.Line()
		return v, nil
	}
	if s.Changes {
		v.Text = "not tried: it would change data, and the token may not ask sys/capabilities-self"
		if e.caps != nil {
			v.Result, v.Text = stepAllowed, "not tried: it would change data"
		}
		return v, nil
	}
	return v, e.try(s, &v)
}

func covers(have, needs []string) bool {
	if slices.Contains(have, "root") {
		return true
	}
	return !slices.ContainsFunc(needs, func(n string) bool { return !slices.Contains(have, n) })
}

// try sends a step's probe.
func (e *clientExam) try(s clients.Step, v *verdict) error {
	body, missing := e.fill(s.Body)
	if missing != "" {
		v.Text = "not tried: an earlier call gave no " + missing
		return nil
	}
	out, err := probe(e.api, s.Method, s.Path, body)
	code := answered(err)
	switch {
	case err == nil:
		v.Result = stepOK
		for _, name := range s.Keep {
			if out != nil {
				e.kept[name], _ = out.Data[name].(string)
			}
		}
	case code == 0:
		return err
	case code == http.StatusForbidden:
		v.Result, v.Policy = stepMissing, s.Line()
		if e.caps != nil {
			v.Result, v.Policy = stepFailed, ""
			v.Text = "the policy has the line, but refuses this request: check its allowed_parameters, " +
				"denied_parameters and required_parameters: " + errorText(err)
		}
	case code == http.StatusNotFound && s.Method != http.MethodPut && !strings.Contains(err.Error(), "unsupported path"):
		v.Result, v.Text = stepAllowed, "nothing is stored there"
	default:
		v.Result, v.Text = stepFailed, stepRemedy(errorText(err))
	}
	return nil
}

// stepRemedy adds what to do to the server's answer.
func stepRemedy(text string) string {
	for _, r := range []struct{ words, remedy string }{
		{clients.NoSuchType, "the key does not exist: make it, or correct -mount and -key"},
		{"key not found", "the key does not exist: make it, or correct -mount and -key"},
		{"soft-deleted", "the key is suspended: sealgate operator tenant resume, or POST " +
			"<mount>/keys/<key>/soft-delete-restore"},
		{"no handler for route", "no secrets engine is mounted there: enable it, or correct -mount"},
		{"unsupported path", "the engine at this path has no such endpoint: correct -mount"},
	} {
		if strings.Contains(text, r.words) {
			return r.remedy
		}
	}
	return text
}

// fill replaces placeholders by fields of earlier answers; missing is a field that none had.
func (e *clientExam) fill(body map[string]any) (filled map[string]any, missing string) {
	filled = maps.Clone(body)
	for name, v := range filled {
		text, _ := v.(string)
		field, ok := strings.CutPrefix(text, "<")
		if !ok {
			continue
		}
		field = strings.TrimSuffix(field, ">")
		if e.kept[field] == "" {
			return nil, field
		}
		filled[name] = e.kept[field]
	}
	return filled, ""
}

// probe sends one request; a LIST is sent as such.
func probe(client *api.Client, method, path string, body map[string]any) (*api.Secret, error) {
	ctx, cancel := context.WithTimeout(context.Background(), client.ClientTimeout())
	defer cancel()
	req := client.NewRequest(method, "/v1/"+path)
	if body != nil {
		if err := req.SetJSONBody(body); err != nil {
			return nil, err
		}
	}
	return exchange(ctx, client, req)
}

func showClientReport(b *base, r *clientReport) int {
	code := exitOK
	if !r.OK {
		code = exitServer
	}
	if b.format() != "table" {
		if failed := b.encode(r); failed != exitOK {
			return failed
		}
		return code
	}
	rows := make([][]string, len(r.Steps))
	for i, v := range r.Steps {
		rows[i] = []string{v.Result, v.Step, v.Path}
	}
	b.printf("%s", table([]string{"Result", "Step", "Path"}, rows))
	for _, v := range r.Steps {
		why := ""
		if v.Optional != "" {
			why = " (" + v.Optional + ")"
		}
		switch {
		case v.Policy != "":
			b.printf("\nMissing in the token's policies%s:\n  %s\n", why, v.Policy)
		case v.Result == stepFailed || v.Result == stepUnknown:
			b.printf("\nTo %s%s: %s\n", v.Step, why, v.Text)
		}
	}
	if r.Note != "" {
		b.printf("\nNote: %s\n", r.Note)
	}
	if r.OK {
		b.printf("\nThe client %s would work with this token.\n", r.Client)
	} else {
		b.printf("\nThe client %s would not work with this token.\n", r.Client)
	}
	return code
}
