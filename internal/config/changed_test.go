package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestChanged checks that every change is named without its value, and that moved lines do not
// count.
func TestChanged(t *testing.T) {
	t.Parallel()
	const before = `storage "bbolt" { path = "data" }
listener "tcp" {
  address = "127.0.0.1:8200"
  tls_cert_file = "a.crt"
  tls_key_file = "a.key"
  x_forwarded_for_authorized_addrs = "192.0.2.0/24"
}
seal "static" "box" {
  current_key_id = "k1"
  current_key = "hunter2"
}
user_lockout "all" { lockout_threshold = 5 }
audit "file" "a" { options { file_path = "a.log" } }
telemetry { metrics_prefix = "vault" }
`
	load := func(text string) *Config {
		t.Helper()
		c, err := Load([]string{write(t, "c.hcl", text)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	old := load(before)
	if got := old.Changed(load("# a comment\n\n" + before)); len(got) > 0 {
		t.Errorf("moved lines count as changes: %q", got)
	}
	for _, c := range []struct{ from, to, want string }{
		{`path = "data"`, `path = "other"`, "storage"},
		{"a.crt", "b.crt", "listener tcp 127.0.0.1:8200"},
		{"192.0.2.0", "192.0.3.0", "listener tcp 127.0.0.1:8200"},
		{"8200", "8300", "listener tcp 127.0.0.1:8300 (added), listener tcp 127.0.0.1:8200 (removed)"},
		{"hunter2", "hunter3", `seal static "box"`},
		{`"box"`, `"two"`, `seal static "two" (added), seal static "box" (removed)`},
		{"lockout_threshold = 5", "lockout_threshold = 6", "user_lockout"},
		{"a.log", "b.log", "audit"},
		{`"vault"`, `"box"`, "telemetry"},
		{"telemetry", "log_level = \"warn\"\nlog_requests_level = \"info\"\napi_addr = \"https://x\"\ntelemetry",
			"api_addr, log_level, log_requests_level"},
		{"telemetry", "ceremony { expiry = \"1h\" }\nservice_registration \"kubernetes\" {\nnamespace = \"n\"\n" +
			"pod_name = \"p\"\n}\ntelemetry", "ceremony, service_registration"},
	} {
		got := old.Changed(load(strings.Replace(before, c.from, c.to, 1)))
		if text := strings.Join(got, ", "); text != c.want || strings.Contains(text, "hunter") {
			t.Errorf("%s: %q, want %q", c.to, text, c.want)
		}
		if !slices.Equal(got, slices.Compact(slices.Clone(got))) {
			t.Errorf("%q has duplicates", got)
		}
	}
}

// TestChangedKnowsEveryField changes each field of a Config by itself.
func TestChangedKnowsEveryField(t *testing.T) {
	t.Parallel()
	for i := range reflect.TypeFor[Config]().NumField() {
		f := reflect.TypeFor[Config]().Field(i)
		if f.Name == "Files" || f.Name == "Notes" {
			continue
		}
		next := &Config{}
		v := reflect.ValueOf(next).Elem().Field(i)
		switch v.Kind() {
		case reflect.Bool:
			v.SetBool(true)
		case reflect.String:
			v.SetString("x")
		case reflect.Int, reflect.Int64:
			v.SetInt(4)
		case reflect.Pointer:
			v.Set(reflect.New(f.Type.Elem()))
		case reflect.Slice:
			v.Set(reflect.MakeSlice(f.Type, 1, 1))
		case reflect.Map:
			v.Set(reflect.MakeMap(f.Type))
			v.SetMapIndex(reflect.ValueOf("x"), reflect.Zero(f.Type.Elem()))
		case reflect.Struct:
			for j := range v.NumField() {
				if v.Field(j).Kind() == reflect.String {
					v.Field(j).SetString("x")
				} else if v.Field(j).CanInt() {
					v.Field(j).SetInt(4)
				}
			}
		}
		if len((&Config{}).Changed(next)) == 0 {
			t.Errorf("a change of %s is not listed", f.Name)
		}
	}
}
