package api

import (
	"container/list"
	"context"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/node"
)

// quotaRecord is one rate-limit quota, as it is stored and shown.
type quotaRecord struct {
	Version       int     `json:"v"`
	Name          string  `json:"name"`
	Path          string  `json:"path"`           // "": every path; of a mount with its slash; with "*" at its end whatever begins so
	Rate          float64 `json:"rate"`           // requests of one client in an interval
	Interval      int64   `json:"interval"`       // seconds
	BlockInterval int64   `json:"block_interval"` // seconds for which a client that exceeds it gets nothing; 0: none
}

func (q *quotaRecord) version() int { return q.Version }

// quotaConfig is what sys/quotas/config keeps.
type quotaConfig struct {
	Version int      `json:"v"`
	Exempt  []string `json:"rate_limit_exempt_paths"`
	Headers bool     `json:"enable_rate_limit_response_headers"`
	Audit   bool     `json:"enable_rate_limit_audit_logging"`
}

func (q *quotaConfig) version() int { return q.Version }

func defaultQuotaConfig() quotaConfig {
	return quotaConfig{Version: settingsVersion, Exempt: []string{
		"sys/generate-recovery-token/attempt", "sys/generate-recovery-token/update", "sys/generate-root/attempt", "sys/generate-root/update",
		"sys/health", "sys/seal-status", "sys/unseal",
	}}
}

// limiters are the clients that quotas know: bounded, the one that was quiet for longest is forgotten.
type limiters struct {
	mu     sync.Mutex
	of     *settings // whose quotas these count for; others begin anew
	byKey  map[string]*list.Element
	recent *list.List
}

// maxClients bounds the memory that clients can take: about 10 MiB.
const maxClients = 65536

type quotaClient struct {
	key     string
	bucket  *rate.Limiter
	blocked time.Time // until when it gets nothing
}

// limit refuses requests of clients that exceed a quota. It counts whoever comes, with a token or without.
func (h *handler) limit(ctx context.Context, q *request) error {
	if h.Node == nil {
		return nil
	}
	active, err := h.roleFor(q)
	if err != nil {
		return nil // a sealed node has no quotas; what it answers costs little
	}
	s, err := h.Shared.settings.get(ctx, active)
	if err != nil {
		h.Log.Warn("settings cannot be read; no quota is in force", "error", err)
		return nil
	}
	if len(s.quotas) == 0 || slices.ContainsFunc(s.limits.Exempt, func(p string) bool { return covers(p, q.path) > 0 }) {
		return nil
	}
	quota := s.quotaFor(q.path)
	if quota == nil {
		return nil
	}
	left, wait := h.Shared.quotas.take(s, quota, clientAddress(q.http.RemoteAddr), h.Now())
	if header := q.out.Header(); s.limits.Headers {
		header.Set("X-Ratelimit-Limit", strconv.FormatFloat(quota.Rate, 'f', -1, 64))
		header.Set("X-Ratelimit-Remaining", strconv.Itoa(left))
		header.Set("X-Ratelimit-Reset", strconv.FormatInt(int64(math.Ceil(wait.Seconds())), 10))
	}
	if wait <= 0 {
		return nil
	}
	h.Shared.refused.Inc()
	q.limitOnRecord = s.limits.Audit && h.Trail != nil && h.Trail.Enabled()
	q.out.Header().Set("Retry-After", strconv.FormatInt(int64(math.Ceil(wait.Seconds())), 10))
	return fault.New(fault.Limited, "request path %q: rate limit quota exceeded", q.path)
}

// covers says how well a quota's path fits a request's: 0 not at all, else the longer the better, and exactly best.
func covers(pattern, path string) int {
	if before, ok := strings.CutSuffix(pattern, "*"); ok && strings.HasPrefix(path, before) {
		return 1 + len(before)
	}
	if pattern != "" && strings.HasSuffix(pattern, "/") && strings.HasPrefix(path, pattern) {
		return 1 + len(pattern)
	}
	if pattern == path {
		return math.MaxInt
	}
	return 0
}

// quotaFor is the quota whose path fits best; one without a path counts where no other does.
func (s *settings) quotaFor(path string) *quotaRecord {
	var best *quotaRecord
	most := -1
	for i := range s.quotas {
		fit := covers(s.quotas[i].Path, path)
		if fit == 0 && s.quotas[i].Path != "" {
			continue
		}
		if fit > most {
			best, most = &s.quotas[i], fit
		}
	}
	return best
}

// take counts a request. left is how many more there may be; wait is how long to the next that will pass, where this one may not.
func (l *limiters) take(s *settings, quota *quotaRecord, client string, now time.Time) (left int, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of != s {
		l.of, l.byKey, l.recent = s, map[string]*list.Element{}, list.New()
	}
	c := l.client(quota, client)
	if c.blocked.After(now) {
		return 0, c.blocked.Sub(now)
	}
	if c.bucket.AllowN(now, 1) {
		return int(c.bucket.TokensAt(now)), 0
	}
	wait = max(time.Duration((1-c.bucket.TokensAt(now))/float64(c.bucket.Limit())*float64(time.Second)), time.Nanosecond)
	if block := time.Duration(quota.BlockInterval) * time.Second; block > 0 {
		c.blocked, wait = now.Add(block), block
	}
	return 0, wait
}

func (l *limiters) client(quota *quotaRecord, client string) *quotaClient {
	key := quota.Name + "\x00" + client
	if e := l.byKey[key]; e != nil {
		l.recent.MoveToFront(e)
		return e.Value.(*quotaClient)
	}
	if l.recent.Len() >= maxClients {
		delete(l.byKey, l.recent.Remove(l.recent.Back()).(*quotaClient).key)
	}
	every := rate.Limit(quota.Rate / float64(quota.Interval))
	c := &quotaClient{key: key, bucket: rate.NewLimiter(every, max(1, int(math.Ceil(quota.Rate))))}
	l.byKey[key] = l.recent.PushFront(c)
	return c
}

type quotaAnswer struct {
	BlockInterval int64   `json:"block_interval"`
	Inheritable   bool    `json:"inheritable"`
	Interval      int64   `json:"interval"`
	Name          string  `json:"name"`
	Path          string  `json:"path"`
	Rate          float64 `json:"rate"`
	Role          string  `json:"role"`
	Type          string  `json:"type"`
}

func (h *handler) listQuotas(ctx context.Context, q *request) (*answer, error) {
	s, err := h.Shared.settings.get(ctx, q.state)
	if err != nil || len(s.quotas) == 0 {
		return nil, err
	}
	names := []string{}
	for _, quota := range s.quotas {
		names = append(names, quota.Name)
	}
	return shown(keysAnswer{names})
}

func (h *handler) readQuota(ctx context.Context, q *request) (*answer, error) {
	s, err := h.Shared.settings.get(ctx, q.state)
	if err != nil {
		return nil, err
	}
	for _, quota := range s.quotas {
		if quota.Name == q.rest {
			return shown(quotaAnswer{
				quota.BlockInterval, quota.Path == "", quota.Interval, quota.Name, quota.Path, quota.Rate, "", "rate-limit",
			})
		}
	}
	return done()
}

func (h *handler) writeQuota(ctx context.Context, q *request) (*answer, error) {
	if err := checkQuotaName(q.rest); err != nil {
		return nil, err
	}
	s, err := h.Shared.settings.get(ctx, q.state)
	if err != nil {
		return nil, err
	}
	record := quotaRecord{Interval: 1}
	for _, old := range s.quotas {
		if old.Name == q.rest {
			record = old
		}
	}
	data, err := q.fields()
	if err != nil {
		return nil, err
	}
	if err := readQuotaFields(fields(data), &record); err != nil {
		return nil, err
	}
	record.Version, record.Name = settingsVersion, q.rest
	if err := checkQuota(q.state, s, &record); err != nil {
		return nil, err
	}
	if err := h.Shared.settings.change(ctx, q.state, pathQuotas+q.rest, record); err != nil {
		return nil, err
	}
	return done()
}

// checkQuotaName keeps names to one segment of the storage's path.
func checkQuotaName(name string) error {
	if strings.Contains(name, "/") || len(name) > 128 {
		return fault.New(fault.Invalid, "the name of a quota has at most 128 bytes and no slash")
	}
	return nil
}

func readQuotaFields(f fields, r *quotaRecord) error {
	interval, block := time.Duration(r.Interval)*time.Second, time.Duration(r.BlockInterval)*time.Second
	var role, kind, number string
	for _, err := range []error{
		f.text("path", &r.Path), f.text("role", &role), f.text("type", &kind), f.text("rate", &number),
		f.duration("interval", &interval), f.duration("block_interval", &block),
	} {
		if err != nil {
			return err
		}
	}
	if number != "" {
		v, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return badField("rate", "a number")
		}
		r.Rate = v
	}
	r.Interval, r.BlockInterval = int64(interval/time.Second), int64(block/time.Second)
	switch {
	case role != "":
		return fault.New(fault.Invalid, "quotas for a role are not offered: give the path of the method's login instead")
	case !(r.Rate > 0) || r.Rate > 1e9:
		return fault.New(fault.Invalid, "'rate' is invalid: it must be greater than 0, and at most 1e9")
	case r.Interval < 1 || r.Interval > 1<<31:
		return fault.New(fault.Invalid, "'interval' is invalid: it must be at least 1 second")
	case r.BlockInterval < 0 || r.BlockInterval > 1<<31:
		return fault.New(fault.Invalid, "'block_interval' is invalid: it must not be negative")
	}
	return nil
}

// checkQuota refuses a second quota for one path, and one for a path that nothing lies behind.
func checkQuota(active *node.RoleState, s *settings, r *quotaRecord) error {
	r.Path = strings.TrimPrefix(r.Path, "/")
	if r.Path != "" {
		if err := checkPath(strings.TrimSuffix(r.Path, "*")); err != nil {
			return err
		}
		if !ours(r.Path) {
			if _, _, _, err := active.Mounts().Route(strings.TrimSuffix(r.Path, "*")); fault.Is(err, fault.NotFound) {
				return fault.New(fault.Invalid, "invalid mount path %q", r.Path)
			}
		}
	}
	for _, other := range s.quotas {
		if other.Name != r.Name && other.Path == r.Path {
			return fault.New(fault.Invalid, "quota rule with similar properties exists under the name %q", other.Name)
		}
	}
	if len(s.quotas) >= maxQuotas {
		return fault.New(fault.Invalid, "there are %d quotas already: remove some", maxQuotas)
	}
	return nil
}

// maxQuotas bounds what each request looks through.
const maxQuotas = 1000

func (h *handler) deleteQuota(ctx context.Context, q *request) (*answer, error) {
	if err := checkQuotaName(q.rest); err != nil {
		return nil, err
	}
	if err := h.Shared.settings.change(ctx, q.state, pathQuotas+q.rest, nil); err != nil {
		return nil, err
	}
	return done()
}

type quotaConfigAnswer struct {
	Audit    bool     `json:"enable_rate_limit_audit_logging"`
	Headers  bool     `json:"enable_rate_limit_response_headers"`
	Absolute []string `json:"absolute_rate_limit_exempt_paths"`
	Exempt   []string `json:"rate_limit_exempt_paths"`
}

func (h *handler) readQuotaConfig(ctx context.Context, q *request) (*answer, error) {
	s, err := h.Shared.settings.get(ctx, q.state)
	if err != nil {
		return nil, err
	}
	return shown(quotaConfigAnswer{s.limits.Audit, s.limits.Headers, []string{}, s.limits.Exempt})
}

func (h *handler) writeQuotaConfig(ctx context.Context, q *request) (*answer, error) {
	s, err := h.Shared.settings.get(ctx, q.state)
	if err != nil {
		return nil, err
	}
	data, err := q.fields()
	if err != nil {
		return nil, err
	}
	c, f := s.limits, fields(data)
	for _, err := range []error{
		f.words("rate_limit_exempt_paths", &c.Exempt), f.flag("enable_rate_limit_response_headers", &c.Headers),
		f.flag("enable_rate_limit_audit_logging", &c.Audit),
	} {
		if err != nil {
			return nil, err
		}
	}
	if len(c.Exempt) > maxQuotas {
		return nil, &status{http.StatusBadRequest, "at most 1000 paths can be exempt"}
	}
	c.Version = settingsVersion
	if err := h.Shared.settings.change(ctx, q.state, pathQuotaAll, c); err != nil {
		return nil, err
	}
	return done()
}

// words reads a list of texts, or one text with commas.
func (f fields) words(name string, into *[]string) error {
	if text, ok := f[name].(string); ok {
		*into = slices.DeleteFunc(strings.Split(text, ","), func(s string) bool { return strings.TrimSpace(s) == "" })
		for i := range *into {
			(*into)[i] = strings.TrimSpace((*into)[i])
		}
		return nil
	}
	return f.list(name, into)
}

func joined(all []string) string { return strings.Join(all, ", ") }
