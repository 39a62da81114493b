package device

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/fault"
)

// Params are parameters by name. Any may be a secret: none is printed.
type Params map[string]string

// Format prints no values for any verb of package fmt.
func (p Params) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, fmt.Sprintf("[%d parameters]", len(p)))
}

// LogValue keeps the values out of log/slog.
func (p Params) LogValue() slog.Value {
	return slog.StringValue(fmt.Sprintf("[%d parameters]", len(p)))
}

// Redacted stands for a secret that is set.
const Redacted = "(redacted)"

// Shown returns a copy without secrets.
func (p Params) Shown(of Parameters) Params {
	out := maps.Clone(p)
	for _, name := range of.Secret {
		if out[name] != "" {
			out[name] = Redacted
		}
	}
	return out
}

const maxParam = 64 << 10

// merge adds what a request gives to the stored parameters: an empty value removes one, and a value
// as it was shown keeps a secret.
func merge(stored, given Params, known []string, of Parameters) (Params, error) {
	out := Params{}
	maps.Copy(out, stored)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		v := given[name]
		switch {
		case slices.Contains(of.Ignored, name):
			continue
		case !slices.Contains(known, name):
			return nil, fault.New(fault.Invalid, "unknown parameter %q: this type has %s", name, strings.Join(known, ", "))
		case len(v) > maxParam:
			return nil, fault.New(fault.TooLarge, "the parameter %q has more than %d bytes", name, maxParam)
		case isPointer(v):
			// The server would read any of its files or variables for a client that may write
			// configurations.
			return nil, fault.New(fault.Invalid, "the parameter %q names a file or a variable of the server: give the value, "+
				"or set it in the server's configuration", name)
		case slices.Contains(of.Secret, name) && (v == Redacted || v == "redacted"):
			continue
		case v == "":
			delete(out, name)
		default:
			out[name] = v
		}
	}
	return out, nil
}

// isPointer reports whether a seal's provider would read the value from elsewhere.
func isPointer(v string) bool {
	v = strings.ToLower(strings.TrimSpace(v))
	return strings.HasPrefix(v, "file://") || strings.HasPrefix(v, "env://")
}
