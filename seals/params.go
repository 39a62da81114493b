package seals

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/spelling"

	"github.com/sealgate/sealgate/internal/secret"
)

// Params reads the parameters of one stanza and records which names the provider knows, so that
// [Params.Check] can refuse a misspelt one.
//
// A value comes from the environment variable (prefix + name in capitals) of the first prefix that
// has one, else from the stanza. An empty variable counts as not set.
type Params struct {
	config   Config
	prefixes []string
	known    map[string]bool
	problems []error
}

// common are the parameters that every seal stanza may have. The provider does not read them.
var common = []string{"name", "priority", "disabled", "purpose"}

// NewParams starts reading a stanza. prefixes are those of environment variables, strongest first,
// such as "SEALGATE_HSM_", "BAO_HSM_". With a nil c.Getenv the environment is not read.
func NewParams(c Config, prefixes ...string) *Params {
	p := &Params{config: c, prefixes: prefixes, known: map[string]bool{}}
	for _, name := range common {
		p.known[name] = true
	}
	return p
}

// Get returns the value of a parameter as written, "" where it is not set. aliases are other names
// of the same parameter; the stanza may use one of them.
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
			p.problems = append(
				p.problems,
				fmt.Errorf("%q and %q name the same parameter and have different values; keep one", found, n),
			)
		}
	}
	return value
}

// File returns the value of a parameter that names a file, as [Params.Get] does. [Params.Check]
// refuses a value that can be no file name, without showing it: it may be the secret itself.
func (p *Params) File(name string, aliases ...string) string {
	return p.CheckFile(name, p.Get(name, aliases...))
}

// CheckFile is [Params.File] for a value that was read elsewhere, such as from a variable of the
// provider's own SDK.
func (p *Params) CheckFile(name, value string) string {
	if err := CheckPath(name, value); err != nil {
		p.problems = append(p.problems, err)
		return ""
	}
	return value
}

// CheckPath refuses the value of a parameter that names a file where it can be no file name. The
// error does not show the value.
func CheckPath(name, value string) error {
	return secret.CheckPath(name, strings.TrimPrefix(value, "file://"))
}

// Secret returns the value of a parameter, resolved by [ResolveSecret]; nil where it is not set.
// Errors name the parameter and the source of its value.
func (p *Params) Secret(name string, aliases ...string) (*Secret, error) {
	return p.resolve(ResolveSecret, name, aliases)
}

// Raw is [Params.Secret] with [ResolveRaw]: the unchanged bytes of a file, for binary keys.
func (p *Params) Raw(name string, aliases ...string) (*Secret, error) {
	return p.resolve(ResolveRaw, name, aliases)
}

func (p *Params) resolve(by resolver, name string, aliases []string) (*Secret, error) {
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

// Check refuses names in the stanza that were not read, each with the nearest known name, and
// aliases that contradict each other. Call it after all parameters were read. The error is a
// [Failure].
func (p *Params) Check() error {
	problems, remedy := slices.Clone(p.problems), "correct the stanza or the environment variable"
	for _, name := range slices.Sorted(maps.Keys(p.config.Params)) {
		if !p.known[name] {
			problems = append(problems, p.unknown(name))
			remedy = fmt.Sprintf("the parameters of a %s seal are: %s", p.config.Type,
				strings.Join(slices.Sorted(maps.Keys(p.known)), ", "))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return Fail(Misconfigured, errors.Join(problems...), "%s", remedy)
}

func (p *Params) unknown(name string) error {
	nearest := spelling.Nearest(name, slices.Collect(maps.Keys(p.known)), max(2, len(name)/2))
	if nearest == "" {
		return fmt.Errorf("seal %q has no parameter %q", p.config.Name, name)
	}
	return fmt.Errorf("seal %q has no parameter %q; did you mean %q?", p.config.Name, name, nearest)
}
