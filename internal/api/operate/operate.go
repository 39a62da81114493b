package operate

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/api/settings"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/storage"
)

// operateRoutes show and set what operators need.
var operateRoutes = []api.Route{
	{Methods: api.Get, Path: "sys/metrics", Capability: policy.Read, Style: api.BareStyle, Lifecycle: true,
		Switch: api.MetricsSwitch, Own: true, Here: true, Handle: showMetrics},
	{Methods: api.Get, Path: "sys/host-info", Capability: policy.Read, Own: true, Here: true, Handle: hostInfo},
	{Methods: api.Get, Path: "sys/in-flight-req", Capability: policy.Read, Style: api.BareStyle, Lifecycle: true,
		Switch: api.InFlightSwitch, Own: true, Here: true, Handle: inFlight},
	{Methods: api.Get, Path: "sys/config/state/sanitized", Capability: policy.Read, Own: true, Here: true,
		Handle: sanitized},
	{Methods: api.Listing, Path: "sys/version-history", Capability: policy.List, Handle: versionHistory},
	{Methods: api.Get, Path: "sys/loggers", Capability: policy.Read, Own: true, Here: true, Handle: readLoggers},
	{Methods: api.Write, Path: "sys/loggers", Body: api.SmallBody, Capability: policy.Update, Own: true, Here: true,
		Handle: setLogger},
	{Methods: api.Remove, Path: "sys/loggers", Capability: policy.Delete, Own: true, Here: true,
		Handle: resetLogger},
	{Methods: api.Get, Path: "sys/loggers/*", Capability: policy.Read, Own: true, Here: true,
		Handle: readLoggers},
	{Methods: api.Write, Path: "sys/loggers/*", Body: api.SmallBody, Capability: policy.Update, Own: true, Here: true,
		Handle: setLogger},
	{Methods: api.Remove, Path: "sys/loggers/*", Capability: policy.Delete, Own: true, Here: true,
		Handle: resetLogger},
	{Methods: api.Get, Path: "sys/monitor", Capability: policy.Read, Style: api.BareStyle, Own: true, Here: true,
		Duration: api.Lasting, Handle: monitor},

	{Methods: api.Get, Path: "sys/config/cors", Capability: policy.Read, Sudo: true, Style: api.DoubleStyle, Here: true,
		Handle: readCORS},
	{Methods: api.Write, Path: "sys/config/cors", Body: api.SmallBody, Capability: policy.Update, Sudo: true,
		Style: api.DoubleStyle, Handle: writeCORS},
	{Methods: api.Remove, Path: "sys/config/cors", Capability: policy.Delete, Sudo: true, Style: api.DoubleStyle,
		Handle: deleteCORS},

	{Methods: api.Get, Path: "sys/quotas/config", Capability: policy.Read, Here: true, Handle: readQuotaConfig},
	{Methods: api.Write, Path: "sys/quotas/config", Body: api.SmallBody, Capability: policy.Update,
		Handle: writeQuotaConfig},
	{Methods: api.Listing, Path: "sys/quotas/rate-limit", Capability: policy.List, Here: true,
		Handle: listQuotas},
	{Methods: api.Get, Path: "sys/quotas/rate-limit/*", Capability: policy.Read, Here: true, Handle: readQuota},
	{Methods: api.Write, Path: "sys/quotas/rate-limit/*", Body: api.SmallBody, Capability: policy.Update,
		Handle: writeQuota},
	{Methods: api.Remove, Path: "sys/quotas/rate-limit/*", Capability: policy.Delete, Handle: deleteQuota},
}

func sanitized(_ context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	if h.Shared.Sanitized == nil {
		return api.Done()
	}
	return api.Show(h.Shared.Sanitized)
}

type versionAnswer struct {
	Keys []string               `json:"keys"`
	Info map[string]versionInfo `json:"key_info"`
}

type versionInfo struct {
	BuildDate string  `json:"build_date"`
	Previous  *string `json:"previous_version"`
	Installed string  `json:"timestamp_installed"`
}

// versionHistory lists the versions that were recorded on this storage. A version is recorded when
// the history is first read after its start; one that ran without that is not listed.
func versionHistory(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	if err := noteVersion(ctx, h, q); err != nil {
		return nil, err
	}
	names, err := q.Role.Store().List(ctx, settings.PathVersions, "", 0)
	if err != nil {
		return nil, err
	}
	times := map[string]time.Time{}
	for _, name := range names {
		var v settings.Installed
		if err := settings.Read(ctx, q.Role, settings.PathVersions+name, &v); err != nil {
			return nil, err
		}
		times[name] = v.At
	}
	slices.SortStableFunc(names, func(a, b string) int { return times[a].Compare(times[b]) })
	a := versionAnswer{Keys: names, Info: map[string]versionInfo{}}
	for i, name := range names {
		info := versionInfo{Installed: times[name].UTC().Format(time.RFC3339Nano)}
		if name == h.Version {
			info.BuildDate = h.CommitDate
		}
		if i > 0 {
			info.Previous = &names[i-1]
		}
		a.Info[name] = info
	}
	return api.Show(a)
}

func noteVersion(ctx context.Context, h *api.Handler, q *api.Request) error {
	_, err := q.Role.Store().Get(ctx, settings.PathVersions+h.Version)
	if !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	return h.Shared.Settings.Change(ctx, q.Role, settings.PathVersions+h.Version,
		settings.Installed{Version: settings.Version, At: h.Now().UTC()})
}
