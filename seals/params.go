package seals

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/secret"
)

// Params reads the parameters of one stanza and remembers which names the provider knows, so that
// [Params.Check] can tell a misspelt one.
//
// A parameter's value is, in this order: the environment variable of the first prefix that has one
// (prefix + name in capitals), then the stanza. An empty variable counts as not set, so that a
// unit file that exports everything does not blank the configuration.
type Params struct {
	config   Config
	prefixes []string
	known    map[string]bool
	problems []error
}

// common are the names that any seal stanza may carry; the set reads them, not the provider.
var common = []string{"name", "priority", "disabled", "purpose"}

// NewParams starts reading; prefixes are those of environment variables, the strongest first,
// such as "SEALGATE_HSM_", "BAO_HSM_". A nil c.Getenv means that no environment is looked at.
func NewParams(c Config, prefixes ...string) *Params {
	p := &Params{config: c, prefixes: prefixes, known: map[string]bool{}}
	for _, name := range common {
		p.known[name] = true
	}
	return p
}

// Get returns the value of a parameter as it is written, "" where it is set nowhere. aliases are other names of the
// same parameter; the stanza may use one of them.
func (p *Params) Get(name string, aliases ...string) string {
	names := append([]string{name}, aliases...)
	for _, n := range names {
		p.known[n] = true
	}
	for _, prefix := range p.prefixes {
		for _, n := range names {
			if v := p.getenv(prefix + strings.ToUpper(n)); v != "" {
				return v
			}
		}
	}
	return p.stanza(names)
}

func (p *Params) stanza(names []string) string {
	found, value := "", ""
	for _, n := range names {
		v := p.config.Params[n]
		switch {
		case v == "":
		case found == "":
			found, value = n, v
		case v != value:
			p.problems = append(p.problems, fmt.Errorf("%q and %q are one parameter with two values; keep one of them", found, n))
		}
	}
	return value
}

// Secret returns the value of a parameter with "env://" and "file://" resolved by [ResolveSecret]; nil
// where the parameter is set nowhere. Errors name the parameter and where its value was looked for.
func (p *Params) Secret(name string, aliases ...string) (*secret.Bytes, error) {
	return p.resolve(ResolveSecret, name, aliases)
}

// Raw is [Params.Secret] by [ResolveRaw]: a file's bytes as they are, for keys in binary.
func (p *Params) Raw(name string, aliases ...string) (*secret.Bytes, error) {
	return p.resolve(ResolveRaw, name, aliases)
}

func (p *Params) resolve(by resolver, name string, aliases []string) (*secret.Bytes, error) {
	value := p.Get(name, aliases...)
	if value == "" {
		return nil, nil
	}
	s, err := by(value, p.config.Getenv)
	if err != nil {
		return nil, fmt.Errorf("parameter %q of seal %q: %w", name, p.config.Name, err)
	}
	return s, nil
}

func (p *Params) getenv(name string) string {
	if p.config.Getenv == nil {
		return ""
	}
	return p.config.Getenv(name)
}

// Check reports, after all parameters were read, the names in the stanza that were never asked for - each
// with the known name nearest to it - and aliases that contradict each other. The error is a [Failure].
func (p *Params) Check() error {
	problems := slices.Clone(p.problems)
	for _, name := range slices.Sorted(maps.Keys(p.config.Params)) {
		if !p.known[name] {
			problems = append(problems, p.unknown(name))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	known := strings.Join(slices.Sorted(maps.Keys(p.known)), ", ")
	return Fail(Misconfigured, errors.Join(problems...), "the parameters of a %s seal are: %s", p.config.Type, known)
}

func (p *Params) unknown(name string) error {
	nearest := slices.MinFunc(slices.Sorted(maps.Keys(p.known)), func(a, b string) int {
		return cmp.Compare(distance(name, a), distance(name, b))
	})
	if distance(name, nearest) > max(2, len(nearest)/2) {
		return fmt.Errorf("seal %q has no parameter %q", p.config.Name, name)
	}
	return fmt.Errorf("seal %q has no parameter %q; did you mean %q?", p.config.Name, name, nearest)
}

// distance is Levenshtein's: how many letters must be added, removed or replaced to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
