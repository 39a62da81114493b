package operate

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/api/settings"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/limits"
	"github.com/sealgate/sealgate/internal/node"
)

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

func listQuotas(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	s, err := h.Shared.Settings.Get(ctx, q.Role)
	if err != nil || len(s.Quotas) == 0 {
		return nil, err
	}
	names := []string{}
	for _, quota := range s.Quotas {
		names = append(names, quota.Name)
	}
	return api.Keys(names)
}

func readQuota(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	s, err := h.Shared.Settings.Get(ctx, q.Role)
	if err != nil {
		return nil, err
	}
	for _, quota := range s.Quotas {
		if quota.Name == q.Rest {
			return api.Show(quotaAnswer{
				quota.BlockInterval, quota.Path == "", quota.Interval, quota.Name, quota.Path, quota.Rate, "", "rate-limit",
			})
		}
	}
	return api.Done()
}

func writeQuota(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	if err := checkQuotaName(q.Rest); err != nil {
		return nil, err
	}
	s, err := h.Shared.Settings.Get(ctx, q.Role)
	if err != nil {
		return nil, err
	}
	record := limits.Quota{Interval: 1}
	for _, old := range s.Quotas {
		if old.Name == q.Rest {
			record = old
		}
	}
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	if err := readQuotaFields(field.Map(data), &record); err != nil {
		return nil, err
	}
	record.Version, record.Name = settings.Version, q.Rest
	if err := checkQuota(q.Role, s, &record); err != nil {
		return nil, err
	}
	if err := h.Shared.Settings.Change(ctx, q.Role, settings.PathQuotas+q.Rest, record); err != nil {
		return nil, err
	}
	return api.Done()
}

// checkQuotaName keeps a name to one segment of the storage's path.
func checkQuotaName(name string) error {
	if strings.Contains(name, "/") || len(name) > 128 {
		return fault.New(fault.Invalid, "the name of a quota has at most 128 bytes and no slash")
	}
	return nil
}

func readQuotaFields(f field.Map, r *limits.Quota) error {
	interval, block := time.Duration(r.Interval)*time.Second, time.Duration(r.BlockInterval)*time.Second
	var role, kind, number string
	for _, err := range []error{
		f.Text("path", &r.Path), f.Text("role", &role), f.Text("type", &kind), f.Text("rate", &number),
		f.Duration("interval", &interval), f.Duration("block_interval", &block),
	} {
		if err != nil {
			return err
		}
	}
	if number != "" {
		v, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return field.Invalid("rate", "a number")
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

// checkQuota refuses a second quota for one path, and a quota for a path that is not mounted.
func checkQuota(active *node.RoleState, s *settings.Settings, r *limits.Quota) error {
	r.Path = strings.TrimPrefix(r.Path, "/")
	if r.Path != "" {
		if err := api.CheckPath(strings.TrimSuffix(r.Path, "*")); err != nil {
			return err
		}
		if !api.InTable(r.Path) {
			if _, _, _, err := active.Mounts().Route(strings.TrimSuffix(r.Path, "*")); fault.Is(err, fault.NotFound) {
				return fault.New(fault.Invalid, "invalid mount path %q", r.Path)
			}
		}
	}
	for _, other := range s.Quotas {
		if other.Name != r.Name && other.Path == r.Path {
			return fault.New(fault.Invalid, "quota rule with similar properties exists under the name %q", other.Name)
		}
	}
	if len(s.Quotas) >= limits.MaxQuotas {
		return fault.New(fault.Invalid, "there are %d quotas already: remove some", limits.MaxQuotas)
	}
	return nil
}

func deleteQuota(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	if err := checkQuotaName(q.Rest); err != nil {
		return nil, err
	}
	if err := h.Shared.Settings.Change(ctx, q.Role, settings.PathQuotas+q.Rest, nil); err != nil {
		return nil, err
	}
	return api.Done()
}

type quotaConfigAnswer struct {
	Audit    bool     `json:"enable_rate_limit_audit_logging"`
	Headers  bool     `json:"enable_rate_limit_response_headers"`
	Absolute []string `json:"absolute_rate_limit_exempt_paths"`
	Exempt   []string `json:"rate_limit_exempt_paths"`
}

func readQuotaConfig(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	s, err := h.Shared.Settings.Get(ctx, q.Role)
	if err != nil {
		return nil, err
	}
	return api.Show(quotaConfigAnswer{s.QuotaConfig.Audit, s.QuotaConfig.Headers, []string{}, s.QuotaConfig.Exempt})
}

func writeQuotaConfig(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	s, err := h.Shared.Settings.Get(ctx, q.Role)
	if err != nil {
		return nil, err
	}
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	c, f := s.QuotaConfig, field.Map(data)
	for _, err := range []error{
		f.Names("rate_limit_exempt_paths", &c.Exempt), f.Flag("enable_rate_limit_response_headers", &c.Headers),
		f.Flag("enable_rate_limit_audit_logging", &c.Audit),
	} {
		if err != nil {
			return nil, err
		}
	}
	if len(c.Exempt) > limits.MaxQuotas {
		return nil, api.NewStatus(http.StatusBadRequest, "at most 1000 paths can be exempt")
	}
	c.Version = settings.Version
	if err := h.Shared.Settings.Change(ctx, q.Role, settings.PathQuotaConfig, c); err != nil {
		return nil, err
	}
	return api.Done()
}
