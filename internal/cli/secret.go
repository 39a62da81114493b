package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/openbao/openbao/api/v2"
)

// showSecret prints a response in the requested format, or the requested field of it.
func (b *base) showSecret(s *api.Secret) int {
	if b.conn.field != "" {
		return b.showField(s, b.conn.field)
	}
	if b.format() != "table" {
		return b.encode(s)
	}
	b.warnings(s.Warnings)
	rows := secretRows(s)
	if len(rows) == 0 {
		return exitOK
	}
	b.printf("%s", rows)
	return exitOK
}

func (b *base) warnings(texts []string) {
	if len(texts) == 0 {
		return
	}
	b.errorf("WARNING! The following warnings were returned from the server:\n")
	for _, t := range texts {
		b.errorf("  * %s\n", t)
	}
}

// secretRows orders a response as Vault's client does: wrapping, lease, auth, then data by name.
func secretRows(s *api.Secret) pairs {
	var p pairs
	if w := s.WrapInfo; w != nil {
		p.add("wrapping_token:", w.Token)
		p.add("wrapping_accessor:", w.Accessor)
		p.add("wrapping_token_ttl:", human(int64(w.TTL)))
		p.add("wrapping_token_creation_time:", w.CreationTime)
		p.add("wrapping_token_creation_path:", w.CreationPath)
		if w.WrappedAccessor != "" {
			p.add("wrapped_accessor:", w.WrappedAccessor)
		}
		return p
	}
	switch {
	case s.LeaseID != "":
		p.add("lease_id", s.LeaseID)
		p.add("lease_duration", human(int64(s.LeaseDuration)))
		p.add("lease_renewable", s.Renewable)
	case s.LeaseDuration > 0:
		p.add("refresh_interval", human(int64(s.LeaseDuration)))
	}
	authRows(&p, s.Auth)
	for _, k := range slices.Sorted(maps.Keys(s.Data)) {
		p.add(k, cell(k, s.Data[k]))
	}
	return p
}

func authRows(p *pairs, a *api.SecretAuth) {
	if a == nil {
		return
	}
	p.add("token", a.ClientToken)
	p.add("token_accessor", a.Accessor)
	lasts := "∞"
	if a.LeaseDuration > 0 {
		lasts = human(int64(a.LeaseDuration))
	}
	p.add("token_duration", lasts)
	p.add("token_renewable", a.Renewable)
	p.add("token_policies", fmt.Sprintf("%q", a.TokenPolicies))
	p.add("identity_policies", fmt.Sprintf("%q", a.IdentityPolicies))
	p.add("policies", fmt.Sprintf("%q", a.Policies))
	for _, k := range slices.Sorted(maps.Keys(a.Metadata)) {
		p.add("token_meta_"+k, a.Metadata[k])
	}
}

// cell formats a value of data. A number becomes a duration if the key is that of a duration.
func cell(key string, v any) string {
	if n, err := strconv.ParseInt(fmt.Sprint(v), 10, 64); err == nil && isDuration(key) {
		if _, text := v.(string); !text {
			return human(n)
		}
	}
	return fmt.Sprint(v)
}

func isDuration(key string) bool {
	switch key {
	case "ttl", "period", "duration", "lease_max", "ttl_max":
		return true
	}
	return strings.HasSuffix(key, "_ttl") || strings.HasSuffix(key, "_period") || strings.HasSuffix(key, "_duration")
}

// human formats seconds without trailing zero units: 768h, not 768h0m0s.
func human(n int64) string {
	const most = int64(1<<63-1) / int64(time.Second)
	if n == 0 || n > most || n < -most {
		return strconv.FormatInt(n, 10) + "s"
	}
	text := (time.Duration(n) * time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// showField prints one field without a newline.
func (b *base) showField(s *api.Secret, name string) int {
	v, ok := fieldOf(s, name)
	if !ok {
		b.errorf("Field %q not present in secret", name)
		return exitLocal
	}
	if b.format() == "json" || b.format() == "yaml" {
		return b.encode(v)
	}
	switch v := v.(type) {
	case string:
		exact(b, "%s", v)
	case map[string]any, []any, []string, map[string]string:
		text, err := json.Marshal(v)
		if err != nil {
			b.errorf("Error formatting the field: %v", err)
			return exitLocal
		}
		exact(b, "%s", text)
	default:
		exact(b, "%v", v)
	}
	return exitOK
}

func fieldOf(s *api.Secret, name string) (any, bool) {
	if v, ok := s.Data[name]; ok {
		return v, true
	}
	if w := s.WrapInfo; w != nil {
		switch name {
		case "wrapping_token":
			return w.Token, true
		case "wrapping_accessor":
			return w.Accessor, true
		case "wrapping_token_ttl":
			return w.TTL, true
		case "wrapping_token_creation_time":
			return w.CreationTime.Format(time.RFC3339Nano), true
		case "wrapping_token_creation_path":
			return w.CreationPath, true
		case "wrapped_accessor":
			return w.WrappedAccessor, true
		}
	}
	if a := s.Auth; a != nil {
		switch name {
		case "token":
			return a.ClientToken, true
		case "token_accessor":
			return a.Accessor, true
		case "token_duration":
			return a.LeaseDuration, true
		case "token_renewable":
			return a.Renewable, true
		case "token_policies":
			return a.TokenPolicies, true
		case "policies":
			return a.Policies, true
		}
	}
	switch name {
	case "data":
		return s.Data, s.Data != nil
	case "lease_id":
		return s.LeaseID, s.LeaseID != ""
	case "lease_duration", "refresh_interval":
		return s.LeaseDuration, true
	}
	return nil, false
}
