package sys

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/node"
)

// rewrapRoutes re-encrypt data, and destroy terms of the keyring that nothing needs.
var rewrapRoutes = []api.Route{
	{Methods: api.Get, Path: "sys/rotate/rewrap", Capability: policy.Read, Guarded: true, Handle: rewrapStatus},
	{Methods: api.Write, Path: "sys/rotate/rewrap", Body: api.SmallBody, Capability: policy.Update, Sudo: true,
		Guarded: true, Handle: rewrapStart},
	{Methods: api.Write, Path: "sys/rotate/rewrap/pause", Body: api.SmallBody, Capability: policy.Update, Sudo: true,
		Guarded: true, Handle: rewrapControl},
	{Methods: api.Write, Path: "sys/rotate/rewrap/resume", Body: api.SmallBody, Capability: policy.Update, Sudo: true,
		Guarded: true, Handle: rewrapControl},
	{Methods: api.Write, Path: "sys/rotate/rewrap/cancel", Body: api.SmallBody, Capability: policy.Update, Sudo: true,
		Guarded: true, Handle: rewrapControl},
	{Methods: api.Get, Path: "sys/rotate/retire", Capability: policy.Read, Guarded: true, Handle: retirement},
	{Methods: api.Write, Path: "sys/rotate/retire", Body: api.SmallBody, Capability: policy.Update, Sudo: true,
		Guarded: true, Handle: retire},
	{Methods: api.Get, Path: "sys/internal/counters/terms", Capability: policy.Read, Handle: termCounters},
}

var rewrapFields = []api.DocField{
	{"rate", "integer", "Most entries per second; 0: as many as foreground requests allow."},
	{"retire", "boolean", "Destroy the older terms when no entry needs them."},
}

var rewrapDocs = map[string]api.Doc{
	"sys/rotate/rewrap": {Text: "Shows the rewrap of the data; starts one, which encrypts all entries again by the " +
		"newest term.", Body: rewrapFields},
	"sys/rotate/rewrap/pause":  {Text: "Pauses the rewrap of the data."},
	"sys/rotate/rewrap/resume": {Text: "Resumes the rewrap of the data.", Body: rewrapFields[:1]},
	"sys/rotate/rewrap/cancel": {Text: "Ends the rewrap of the data; what it did stays."},
	"sys/rotate/retire": {Text: "Shows what the destruction of the older terms would do; destroys them where no entry " +
		"needs one."},
	"sys/internal/counters/terms": {Text: "Counts entries and bytes by term of the barrier key, and by mount."},
}

// rewrapAnswer is the state of a rewrap. What is not known is left out.
type rewrapAnswer struct {
	ID        string                `json:"id"`
	State     string                `json:"state"`
	Phase     string                `json:"phase"`
	Target    uint32                `json:"target_term"`
	Retire    bool                  `json:"retire"`
	Rate      int                   `json:"rate"`
	Entries   int64                 `json:"entries"`
	Bytes     int64                 `json:"bytes"`
	Visited   int64                 `json:"visited"`
	Remaining *int64                `json:"remaining,omitempty"`
	Percent   *float64              `json:"percent,omitempty"`
	PerSecond float64               `json:"entries_per_second"`
	Estimate  *float64              `json:"estimated_seconds,omitempty"`
	Started   string                `json:"started"`
	Ended     string                `json:"ended,omitempty"`
	Retired   []uint32              `json:"retired_terms"`
	Damaged   []string              `json:"damaged"`
	Problem   string                `json:"problem,omitempty"`
	Change    []node.ChangedOutside `json:"change_outside,omitempty"`
}

// showRewrap renders a job, with what the census of ring says is left.
func showRewrap(j *node.RewrapJob, ring node.Keyring) rewrapAnswer {
	a := rewrapAnswer{ID: j.ID, State: j.State, Phase: j.Phase, Target: j.Target, Retire: j.Retire, Rate: j.Rate,
		Entries: j.Entries, Bytes: j.Bytes, Visited: j.Visited, Started: j.Started.Format(time.RFC3339),
		Retired: j.Retired, Damaged: j.Damaged, Problem: j.Problem, Change: j.Change}
	if j.Ended != nil {
		a.Ended = j.Ended.Format(time.RFC3339)
	}
	if worked := j.Working.Seconds(); worked > 0 {
		a.PerSecond = float64(j.Entries) / worked
	}
	if !ring.Known {
		return a
	}
	var left, all int64
	for _, t := range ring.Terms {
		all += t.Entries
		if t.KeyStatus.Term < j.Target {
			left += t.Entries
		}
	}
	a.Remaining = &left
	if total := max(j.Total, j.Entries+left, 1); j.Total >= 0 {
		percent := 100 * float64(total-left) / float64(total)
		a.Percent = &percent
	}
	if a.PerSecond > 0 && j.State == node.RewrapRunning {
		estimate := float64(left) / a.PerSecond
		a.Estimate = &estimate
	}
	return a
}

func showJob(h *api.Handler, j *node.RewrapJob) (*api.Answer, error) {
	ring, err := node.KeysOf(h.Node).Keyring()
	if err != nil {
		return nil, err
	}
	return api.Show(showRewrap(j, ring))
}

func rewrapStatus(ctx context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	j, err := node.KeysOf(h.Node).Rewrap(ctx)
	if err != nil {
		return nil, err
	}
	if j == nil {
		return api.Show(map[string]string{"state": "none"})
	}
	return showJob(h, j)
}

func rewrapStart(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	var rate int64
	var retire bool
	f := field.Map(data)
	for _, err := range []error{f.Number("rate", &rate), f.Flag("retire", &retire)} {
		if err != nil {
			return nil, err
		}
	}
	j, err := node.KeysOf(h.Node).StartRewrap(ctx, int(rate), retire)
	if err != nil {
		return nil, err
	}
	return showJob(h, j)
}

// controls are the states that the routes below sys/rotate/rewrap/ give a rewrap.
var controls = map[string]string{
	"pause": node.RewrapPaused, "resume": node.RewrapRunning, "cancel": node.RewrapCancelled,
}

// rewrapControl serves the routes that change the state of a rewrap.
func rewrapControl(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	rate := int64(-1)
	if err := field.Map(data).Number("rate", &rate); err != nil {
		return nil, err
	}
	state := controls[q.Path[strings.LastIndexByte(q.Path, '/')+1:]]
	if state == "" {
		return nil, fault.New(fault.Internal, "this path has no state")
	}
	j, err := node.KeysOf(h.Node).ControlRewrap(ctx, state, int(rate))
	if err != nil {
		return nil, err
	}
	return showJob(h, j)
}

type retirementAnswer struct {
	Terms     []uint32          `json:"terms"`
	Entries   int64             `json:"entries"`
	Exact     bool              `json:"exact"`
	Snapshots map[string]string `json:"snapshots"`
	Warnings  []string          `json:"warnings"`
}

func retirement(ctx context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	r, err := node.KeysOf(h.Node).Retirement(ctx)
	if err != nil {
		return nil, err
	}
	a := retirementAnswer{Terms: append([]uint32{}, r.Terms...), Entries: r.Entries, Exact: r.Exact,
		Snapshots: map[string]string{}, Warnings: append([]string{}, r.Warnings...)}
	for seal, at := range r.Known {
		a.Snapshots[seal] = at.UTC().Format(time.RFC3339)
	}
	return api.Show(a)
}

func retire(ctx context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	j, err := node.KeysOf(h.Node).StartRetirement(ctx)
	if err != nil {
		return nil, err
	}
	return showJob(h, j)
}

// countedPart is the part of the storage that a mount or the server itself has.
type countedPart struct {
	Part    string `json:"part"`
	Mount   string `json:"mount,omitempty"` // its path
	Entries int64  `json:"entries"`
	Bytes   int64  `json:"bytes"`
}

type countedTerm struct {
	termAnswer
	Parts []countedPart `json:"parts"`
}

// termCounters shows the census by mount. Mounts that were removed have no path.
func termCounters(_ context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	ring, err := node.KeysOf(h.Node).Keyring()
	if err != nil {
		return nil, err
	}
	paths := map[string]string{}
	for _, m := range q.Role.Mounts().List() {
		paths["logical/"+m.UUID] = m.Path
	}
	for _, m := range q.Role.AuthMethods().List() {
		paths["credential/"+m.UUID] = "auth/" + m.Path
	}
	terms := []countedTerm{}
	for _, t := range ring.Terms {
		c := countedTerm{showTerm(t, ring.Known), []countedPart{}}
		for _, part := range slices.Sorted(maps.Keys(t.Parts)) {
			n := t.Parts[part]
			c.Parts = append(c.Parts, countedPart{part, paths[part], n.Entries, n.Bytes})
		}
		terms = append(terms, c)
	}
	return api.Show(map[string]any{
		"counters": map[string]any{"terms": terms}, "exact": ring.Exact, "counting": ring.Counting,
	})
}
