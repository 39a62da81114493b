package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Load reads files and folders in the given order, then the environment, which takes precedence.
//
// In a folder it reads *.hcl and *.json in alphabetical order; an empty folder is allowed. Without
// paths it returns the defaults with the settings of the environment. The error joins all errors,
// each an [*Error]. The server calls [Config.Complete] after it applied its command line.
func Load(paths []string, getenv func(string) string) (*Config, error) {
	files, err := expandPaths(paths)
	if err != nil {
		return nil, err
	}
	d := newDecoder()
	for _, f := range files {
		if slices.Contains(d.cfg.Files, f) {
			continue // named twice: its stanzas would conflict with themselves
		}
		d.cfg.Files = append(d.cfg.Files, f)
		data, err := readBounded(f)
		if err != nil {
			return nil, fmt.Errorf("config: %w", err)
		}
		b, err := parse(f, data)
		if err != nil {
			d.errs = append(d.errs, err)
			continue
		}
		d.file(b)
	}
	d.environment(getenv)
	d.check()
	if err := d.result(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(d.cfg.Notes, func(a, b Note) int { return d.order(a.Pos, b.Pos) })
	return d.cfg, nil
}

func expandPaths(paths []string) ([]string, error) {
	var files []string
	for _, p := range paths {
		info, err := os.Stat(p)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("config: %s does not exist", p)
		}
		if err != nil {
			return nil, fmt.Errorf("config: %w", err)
		}
		if !info.IsDir() {
			files = append(files, p)
			continue
		}
		entries, err := os.ReadDir(p) // sorted by name
		if err != nil {
			return nil, fmt.Errorf("config: %w", err)
		}
		for _, e := range entries {
			ext := filepath.Ext(e.Name())
			if hidden := strings.HasPrefix(e.Name(), "."); !hidden && !e.IsDir() && (ext == ".hcl" || ext == ".json") {
				files = append(files, filepath.Join(p, e.Name()))
			}
		}
	}
	return files, nil
}

// readBounded reads one byte more than parse accepts, so that parse can report the size.
func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// Env returns the first of SEALGATE_x, BAO_x and VAULT_x that is set, or "".
func Env(getenv func(string) string, x string) string {
	for _, prefix := range []string{"SEALGATE_", "BAO_", "VAULT_"} {
		if v := getenv(prefix + x); v != "" {
			return v
		}
	}
	return ""
}

// environment applies the variables that take precedence over the files. The providers of seals
// read the variables of their parameters themselves.
func (d *decoder) environment(getenv func(string) string) {
	if getenv == nil {
		return
	}
	c := d.cfg
	d.registrationEnvironment(getenv)
	d.fromEnv(getenv, "api_addr", &c.APIAddr, "API_ADDR", "REDIRECT_ADDR", "ADVERTISE_ADDR")
	d.fromEnv(getenv, "cluster_addr", &c.ClusterAddr, "CLUSTER_ADDR")
	if word := Env(getenv, "LOG_LEVEL"); word != "" {
		l, ok := Level(word)
		if !ok {
			d.fail(Pos{}, "LOG_LEVEL must be one of trace, debug, info, warn, error")
		}
		c.LogLevel = l
	}
	if word := Env(getenv, "LOG_FORMAT"); word != "" {
		if word = strings.ToLower(word); word != "standard" && word != "json" {
			d.fail(Pos{}, "LOG_FORMAT must be standard or json")
		}
		c.LogFormat = word
	}
	d.sealType(Env(getenv, "SEAL_TYPE"))
	d.etcdEnvironment(getenv)
	d.postgresqlEnvironment(getenv)
}

func (d *decoder) fromEnv(getenv func(string) string, key string, to *string, names ...string) {
	for _, name := range names {
		if text := Env(getenv, name); text != "" {
			*to, d.set[key] = text, Pos{}
			return
		}
	}
}

// sealType applies SEAL_TYPE, which sets the type of the only stanza, or adds one with all
// parameters from the environment.
func (d *decoder) sealType(kind string) {
	if kind == "" {
		return
	}
	if _, ok := sealParams[kind]; !ok {
		d.fail(Pos{}, "SEAL_TYPE is not a known type: use one of %s", strings.Join(SealTypes(), ", "))
		return
	}
	switch len(d.cfg.Seals) {
	case 0:
		d.cfg.Seals = []Seal{{Type: kind, Params: Params{}}}
	case 1:
		d.cfg.Seals[0].Type = kind
	default:
		d.fail(Pos{}, "SEAL_TYPE works with one seal stanza, and there are %d: unset it", len(d.cfg.Seals))
	}
}

func posOf(err error) Pos {
	var e *Error
	if errors.As(err, &e) {
		return e.Pos
	}
	return Pos{}
}

// joined is errors.Join, but returns a single error as it is.
func joined(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}
