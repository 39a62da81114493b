package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	vault "github.com/hashicorp/vault/api"
	bao "github.com/openbao/openbao/api/v2"
)

// sdkRow is one call of a library, by its name: the two libraries have the same names and different
// types.
type sdkRow struct {
	call string // "Sys.Init": what of the client, and the method
	args []any  // converted to what the method takes; "$x" is what an earlier row kept as x
	want string // "path=value path=value" of the result as JSON
	keep string // "x=path y=path"
	// refused has words of the error that the call must give.
	refused string
	// absent is why the call cannot work; refused has the words with which it does not.
	absent string
}

type object = map[string]any

// sdkRun makes the calls of a table, in their order.
type sdkRun struct {
	t       *testing.T
	harness *harness
	client  any
	parts   map[string]any
	kept    map[string]string
	called  map[string]bool
}

func (s *sdkRun) run(rows []sdkRow) {
	for _, row := range rows {
		part, name, _ := strings.Cut(row.call, ".")
		method := reflect.ValueOf(s.parts[part]).MethodByName(name)
		if !method.IsValid() {
			continue // the other library has it
		}
		s.called[row.call] = true
		result, err := s.invoke(method, row.args)
		if row.absent != "" {
			s.t.Logf("cannot work: %-45s %s", row.call, row.absent)
		}
		switch {
		case row.refused == nothing:
			if err != nil || result != nil && fmt.Sprint(result) != "map[]" {
				s.t.Errorf("%s: %v, %v; want nothing", row.call, result, err)
			}
		case row.refused != "":
			if err == nil || !strings.Contains(err.Error(), row.refused) {
				s.t.Errorf("%s: %v, %v; want an error that says %q", row.call, result, err, row.refused)
			}
		case err != nil:
			s.t.Fatalf("%s(%v): %v", row.call, row.args, err)
		default:
			s.check(row, result)
		}
	}
}

func (s *sdkRun) check(row sdkRow, result any) {
	s.t.Helper()
	for field := range strings.FieldsSeq(row.want) {
		path, want, _ := strings.Cut(field, "=")
		if got := fmt.Sprint(at(result, path)); got != s.text(want) {
			s.t.Errorf("%s: %s is %q; want %q in %v", row.call, path, got, want, result)
		}
	}
	for field := range strings.FieldsSeq(row.keep) {
		name, path, _ := strings.Cut(field, "=")
		value := fmt.Sprint(at(result, path))
		if value == "" || value == "<nil>" {
			s.t.Fatalf("%s: nothing at %s in %v", row.call, path, result)
		}
		s.kept[name] = value
		switch name[0] {
		case 'k': // a share
			s.harness.known.addShare(value)
		case 'n':
			s.harness.known.add("a nonce", value)
		case 't':
			s.harness.known.add("a token", value)
		}
	}
}

// at finds a value in decoded JSON; "." is the whole.
func at(v any, path string) any {
	if path == "." {
		return v
	}
	for name := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case object:
			v = x[name]
			for key := range x { // types without tags have their names
				if v == nil && strings.EqualFold(strings.ReplaceAll(name, "_", ""), strings.ReplaceAll(key, "_", "")) {
					v = x[key]
				}
			}
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func (s *sdkRun) text(v string) string {
	if name, ok := strings.CutPrefix(v, "$"); ok {
		return s.kept[name]
	}
	return v
}

// filled replaces what was kept, in all depths.
func (s *sdkRun) filled(v any) any {
	switch x := v.(type) {
	case string:
		return s.text(x)
	case object:
		out := object{}
		for key, value := range x {
			out[key] = s.filled(value)
		}
		return out
	case []any:
		out := slices.Clone(x)
		for i := range out {
			out[i] = s.filled(out[i])
		}
		return out
	}
	return v
}

// invoke calls a method and returns its result as decoded JSON. Contexts are given where they are
// wanted, and end with the call.
func (s *sdkRun) invoke(method reflect.Value, args []any) (any, error) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	in := make([]reflect.Value, 0, method.Type().NumIn())
	for i := range method.Type().NumIn() {
		kind := method.Type().In(i)
		if kind == reflect.TypeFor[context.Context]() {
			in = append(in, reflect.ValueOf(ctx))
			continue
		}
		if len(args) == 0 {
			s.t.Fatalf("%s: too few arguments", method.Type())
		}
		in = append(in, s.argument(args[0], kind))
		args = args[1:]
	}
	var result any
	for _, out := range method.Call(in) {
		if err, ok := out.Interface().(error); ok {
			return nil, err
		}
		if out.Type() != reflect.TypeFor[error]() && out.Kind() != reflect.Chan {
			result = out.Interface()
		}
	}
	if body := reflect.Indirect(reflect.ValueOf(result)); body.Kind() == reflect.Struct &&
		body.FieldByName("Body").IsValid() {
		closer := body.FieldByName("Body").Interface().(io.ReadCloser)
		defer closer.Close()
		raw, err := io.ReadAll(closer)
		return string(raw), err
	}
	raw, err := json.Marshal(result)
	if err != nil {
		return nil, err
	}
	var decoded any
	return decoded, errors.Join(err, json.Unmarshal(raw, &decoded))
}

func (s *sdkRun) argument(arg any, kind reflect.Type) reflect.Value {
	s.t.Helper()
	arg = s.filled(arg)
	v := reflect.ValueOf(arg)
	switch {
	case arg == nil:
		return reflect.Zero(kind)
	case v.Type().AssignableTo(kind):
		return v
	case v.Kind() == reflect.String && kind == reflect.TypeFor[[]byte]():
		return reflect.ValueOf([]byte(arg.(string)))
	}
	raw, err := json.Marshal(arg)
	if err != nil {
		s.t.Fatal(err)
	}
	into := reflect.New(kind)
	if err := json.Unmarshal(raw, into.Interface()); err != nil {
		s.t.Fatalf("%v for a %s: %v", arg, kind, err)
	}
	return into.Elem()
}

// sdkClients open the libraries.
var sdkClients = map[string]func(t *testing.T, addr string, a *authority) (client any, parts map[string]any){
	"vault": func(t *testing.T, addr string, a *authority) (any, map[string]any) {
		config := vault.DefaultConfig()
		config.Address, config.HttpClient, config.MaxRetries = "https://"+addr, a.browser(), 0
		c, err := vault.NewClient(config)
		if err != nil {
			t.Fatal(err)
		}
		c.ClearToken()
		return c, map[string]any{"Client": c, "Sys": c.Sys(), "Logical": c.Logical(), "Token": c.Auth().Token()}
	},
	"openbao": func(t *testing.T, addr string, a *authority) (any, map[string]any) {
		config := bao.DefaultConfig()
		config.Address, config.HttpClient, config.MaxRetries = "https://"+addr, a.browser(), 0
		c, err := bao.NewClient(config)
		if err != nil {
			t.Fatal(err)
		}
		c.ClearToken()
		return c, map[string]any{"Client": c, "Sys": c.Sys(), "Logical": c.Logical(), "Token": c.Auth().Token()}
	},
}

// TestSDKTable makes every call that Vault's and OpenBao's libraries have for sys/, tokens and
// paths, over TLS. What cannot work is in the table with its reason, and says so. A call that a new
// version of a library brings fails the test until it has a row.
func TestSDKTable(t *testing.T) {
	t.Parallel()
	for name, open := range sdkClients {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			called := map[string]bool{}
			var parts map[string]any
			for seal, rows := range map[string][]sdkRow{"shamir": sdkShamirRows, "auto": sdkMachineRows} {
				r := newShamirHarness(t)
				if seal == "auto" {
					r = newStaticHarness(t)
				}
				a, _ := r.useTLS(t, "")
				r.startTLS(a)
				s := &sdkRun{t: t, harness: r, kept: map[string]string{}, called: called}
				s.client, s.parts = open(t, r.Addr, a)
				_, pgp := pgpIdentity(t)
				s.kept["pgp"], s.kept["audit"] = pgp, r.order()["audit"]
				s.run(rows)
				parts = s.parts
			}
			for _, part := range []string{"Sys", "Logical", "Token"} {
				kind := reflect.TypeOf(parts[part])
				for i := range kind.NumMethod() {
					call := part + "." + kind.Method(i).Name
					if base := strings.Replace(strings.TrimSuffix(call, "Detailed"), "WithContext", "", 1); !called[call] &&
						!called[base] && sdkLocal[call]+sdkLocal[base] == "" {
						t.Errorf("%s has no row", call)
					}
				}
			}
			for _, call := range slices.Sorted(maps.Keys(sdkLocal)) {
				t.Logf("not called: %-45s %s", call, sdkLocal[call])
			}
		})
	}
}
