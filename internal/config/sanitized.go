package config

import (
	"strings"
	"time"
)

// Sanitized is the configuration as sys/config/state/sanitized shows it: the current settings
// without seal parameters, key files or anything else that may be a secret.
func (c *Config) Sanitized() map[string]any {
	out := map[string]any{
		"api_addr": c.APIAddr, "cluster_addr": c.ClusterAddr, "cluster_name": c.ClusterName, "pid_file": c.PIDFile,
		"api_version":        c.APIVersion,
		"disable_clustering": c.DisableClustering, "raw_storage_endpoint": c.RawStorageEndpoint, "ui": c.UI,
		"unsafe_allow_forced_restore":     c.ForcedRestore,
		"enable_response_header_hostname": c.ResponseHeaderHost,
		"unsafe_allow_debugging":          c.AllowDebugging, "disable_mlock": c.DisableMlock,
		"default_lease_ttl": seconds(c.DefaultLeaseTTL), "max_lease_ttl": seconds(c.MaxLeaseTTL),
		"default_max_request_duration": seconds(c.DefaultMaxRequestDuration),
		"max_request_memory":           c.MaxRequestMemory,
		"log_level":                    strings.ToLower(c.LogLevel.String()), "log_format": c.LogFormat,
		"telemetry": map[string]any{"metrics_prefix": c.Telemetry.Prefix, "prometheus": c.Telemetry.Prometheus},
		"ceremony":  map[string]any{"expiry": seconds(c.Ceremony.Expiry), "keep_answer": seconds(c.Ceremony.KeepAnswer)},
	}
	if c.Storage != nil {
		out["storage"] = map[string]any{
			"type": c.Storage.Type, "cluster_addr": c.ClusterAddr, "redirect_addr": c.APIAddr,
			"disable_clustering": c.DisableClustering,
		}
	}
	listeners := []any{}
	for _, l := range c.Listeners {
		listeners = append(listeners, map[string]any{"type": l.Type, "config": map[string]any{
			"address": l.Address, "cluster_address": l.ClusterAddress, "tls_disable": l.TLSDisable,
			"tls_require_and_verify_client_cert":        l.TLSRequireClient,
			"disable_unauthed_rekey_endpoints":          l.DisableUnauthRekey,
			"disable_unauthed_generate_root_endpoints":  l.DisableUnauthRoot,
			"max_request_size":                          l.MaxRequestSize,
			"proxy_protocol_behavior":                   l.Front.ProxyBehavior,
			"unauthenticated_metrics_access":            l.Front.OpenMetrics,
			"unauthenticated_in_flight_requests_access": l.Front.OpenInFlight,
			"unauthenticated_pprof_access":              l.Front.OpenProfiles,
			"x_forwarded_for_authorized_addrs":          prefixes(l.Front),
			"cors_enabled":                              l.Front.CORS.Enabled,
		}})
	}
	out["listeners"] = listeners
	sealList := []any{}
	for _, s := range c.Seals {
		sealList = append(sealList, map[string]any{"type": s.Type, "name": s.Name, "disabled": s.Disabled})
	}
	out["seals"] = sealList
	schedules := []any{}
	for _, s := range c.Snapshots {
		one := map[string]any{"name": s.Name, "every": seconds(s.Every), "keep": s.Keep, "timeout": seconds(s.Timeout),
			"path": s.Path}
		if s.S3 != nil {
			one["s3"] = map[string]any{"bucket": s.S3.Bucket, "prefix": s.S3.Prefix, "region": s.S3.Region,
				"endpoint": s.S3.Endpoint}
		}
		schedules = append(schedules, one)
	}
	if len(schedules) > 0 {
		out["snapshots"] = schedules
	}
	return out
}

func prefixes(f Front) []string {
	out := []string{}
	for _, p := range f.Forwarded.Authorized {
		out = append(out, p.String())
	}
	return out
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }
