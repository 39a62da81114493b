package config

import (
	"fmt"
	"reflect"
)

// Changed lists the settings that differ between two configurations, by key or stanza and without
// any value. Positions in files do not count.
func (c *Config) Changed(next *Config) []string {
	var names []string
	for _, s := range []struct {
		name string
		a, b any
	}{
		{"storage", c.Storage, next.Storage}, {"seal_policy", c.SealPolicy, next.SealPolicy},
		{"kms_library", c.Libraries, next.Libraries},
		{"user_lockout", c.Lockout, next.Lockout}, {"ceremony", c.Ceremony, next.Ceremony},
		{"service_registration", c.Kubernetes, next.Kubernetes}, {"telemetry", c.Telemetry, next.Telemetry},
		{"audit", c.Audit, next.Audit}, {"unsafe_allow_api_audit_creation", c.AuditByAPI, next.AuditByAPI},
		{"allow_audit_log_prefixing", c.AuditPrefix, next.AuditPrefix}, {"audit_folders", c.AuditFolders, next.AuditFolders},
		{"api_addr", c.APIAddr, next.APIAddr}, {"cluster_addr", c.ClusterAddr, next.ClusterAddr},
		{"api_version", c.APIVersion, next.APIVersion}, {"cluster_name", c.ClusterName, next.ClusterName},
		{"cluster_id", c.ClusterID, next.ClusterID}, {"break_glass", c.BreakGlass, next.BreakGlass},
		{"anchor", c.Anchor, next.Anchor},
		{"fips", c.FIPS, next.FIPS},
		{"disable_clustering", c.DisableClustering, next.DisableClustering},
		{"default_lease_ttl", c.DefaultLeaseTTL, next.DefaultLeaseTTL}, {"max_lease_ttl", c.MaxLeaseTTL, next.MaxLeaseTTL},
		{"default_max_request_duration", c.DefaultMaxRequestDuration, next.DefaultMaxRequestDuration},
		{"max_request_memory", c.MaxRequestMemory, next.MaxRequestMemory},
		{"log_level", c.LogLevel, next.LogLevel}, {"log_format", c.LogFormat, next.LogFormat},
		{"log_file", c.LogFile, next.LogFile}, {"log_requests_level", c.LogRequests, next.LogRequests},
		{"pid_file", c.PIDFile, next.PIDFile}, {"raw_storage_endpoint", c.RawStorageEndpoint, next.RawStorageEndpoint},
		{"unsafe_allow_forced_restore", c.ForcedRestore, next.ForcedRestore},
		{"ui", c.UI, next.UI},
		{"unsafe_allow_debugging", c.AllowDebugging, next.AllowDebugging},
		{"disable_mlock", c.DisableMlock, next.DisableMlock},
		{"unsafe_allow_debugging", c.AllowDebugging, next.AllowDebugging},
		{"enable_response_header_hostname", c.ResponseHeaderHost, next.ResponseHeaderHost},
	} {
		if !equal(reflect.ValueOf(s.a), reflect.ValueOf(s.b)) {
			names = append(names, s.name)
		}
	}
	names = append(names, changedStanzas(c.Listeners, next.Listeners, Listener.title)...)
	names = append(names, changedStanzas(c.Snapshots, next.Snapshots, Snapshot.title)...)
	names = append(names, changedStanzas(c.Gateways, next.Gateways, Gateway.title)...)
	return append(names, changedStanzas(c.Seals, next.Seals, Seal.title)...)
}

func (l Listener) title() string { return fmt.Sprintf("listener %s %s", l.Type, l.Address) }
func (s Seal) title() string     { return fmt.Sprintf("seal %s %q", s.Type, s.Name) }

// changedStanzas compares stanzas by their titles.
func changedStanzas[T any](old, next []T, title func(T) string) (names []string) {
	before := map[string]T{}
	for _, s := range old {
		before[title(s)] = s
	}
	for _, s := range next {
		was, ok := before[title(s)]
		switch {
		case !ok:
			names = append(names, title(s)+" (added)")
		case !equal(reflect.ValueOf(was), reflect.ValueOf(s)):
			names = append(names, title(s))
		}
		delete(before, title(s))
	}
	for _, s := range old {
		if _, ok := before[title(s)]; ok {
			names = append(names, title(s)+" (removed)")
		}
	}
	return names
}

// equal compares deeply, and takes all positions for equal.
func equal(a, b reflect.Value) bool {
	if !a.IsValid() || !b.IsValid() {
		return a.IsValid() == b.IsValid()
	}
	if a.Type() == reflect.TypeFor[Pos]() {
		return true
	}
	switch a.Kind() {
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		return equal(a.Elem(), b.Elem())
	case reflect.Struct:
		for i := range a.NumField() {
			if a.Type().Field(i).IsExported() && !equal(a.Field(i), b.Field(i)) {
				return false
			}
		}
		if a.Type().PkgPath() != reflect.TypeFor[Pos]().PkgPath() { // such as netip.Prefix, which has no exported field
			return reflect.DeepEqual(a.Interface(), b.Interface())
		}
		return true
	case reflect.Slice:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !equal(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() {
			return false
		}
		for _, k := range a.MapKeys() {
			if !equal(a.MapIndex(k), b.MapIndex(k)) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}
