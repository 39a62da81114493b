package server

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth/method/approle"
	"github.com/sealgate/sealgate/internal/auth/method/cert"
	"github.com/sealgate/sealgate/internal/auth/method/jwt"
	"github.com/sealgate/sealgate/internal/auth/method/kubernetes"
	"github.com/sealgate/sealgate/internal/auth/method/userpass"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/engine/cubbyhole"
	"github.com/sealgate/sealgate/internal/engine/kv"
	transitengine "github.com/sealgate/sealgate/internal/engine/transit"
	xksengine "github.com/sealgate/sealgate/internal/engine/xks"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/server/sealtypes"
	"github.com/sealgate/sealgate/seals"
)

// providers are the seal types of the program.
var providers = sealtypes.Factories()

// engineFactories are the secrets engines, by type.
var engineFactories = map[string]mount.Factory{
	"cubbyhole": cubbyhole.New,
	"generic":   kv.New, // the old name of kv version 1
	"kv":        kv.New,
	"transit":   transitengine.New,
	"xks":       xksengine.New,
}

// authMethodFactories are the auth methods, by type.
var authMethodFactories = map[string]mount.Factory{
	"approle":    approle.New,
	"cert":       cert.New,
	"jwt":        jwt.New,
	"kubernetes": kubernetes.New,
	"oidc":       jwt.New, // the same method; oidc is its login with a browser
	"userpass":   userpass.Factory(userpass.Options{}),
}

// sealMaker makes seals from stanzas.
type sealMaker struct {
	getenv  func(string) string
	log     *slog.Logger
	observe func(string, string, time.Duration, error)
}

// theShamirSeal is the seal of a configuration that names none.
var theShamirSeal = config.Seal{Type: "shamir", Name: "shamir"}

// set makes the seal set of the configuration: a Shamir seal if it names none.
func (m sealMaker) set(c *config.Config) (*seals.Set, error) {
	stanzas := enabled(c.Seals)
	if len(stanzas) == 0 {
		stanzas = []config.Seal{theShamirSeal}
	}
	o := seals.Options{
		Threshold: c.Plan().Threshold, AllowPolicyChange: c.SealPolicy.AllowChange, AutoRewrap: c.SealPolicy.AutoRewrap,
	}
	if c.SealPolicy.Mode == config.PolicyNamed {
		o.Policy = &c.SealPolicy.Named
	}
	return m.make(stanzas, o)
}

// migrateFrom makes the seals that a store is migrated from: those of the disabled stanzas, or the
// Shamir seal where the configuration has others; nil where there is nothing to migrate from.
func (m sealMaker) migrateFrom(c *config.Config) (*seals.Set, error) {
	in := enabled(c.Seals)
	old := slices.DeleteFunc(slices.Clone(c.Seals), func(s config.Seal) bool { return !s.Disabled })
	switch {
	case len(old) > 0:
	case len(in) == 0, slices.ContainsFunc(in, func(s config.Seal) bool { return s.Type == theShamirSeal.Type }):
		return nil, nil
	default:
		old = []config.Seal{theShamirSeal}
	}
	return m.make(old, seals.Options{})
}

func enabled(all []config.Seal) []config.Seal {
	return slices.DeleteFunc(slices.Clone(all), func(s config.Seal) bool { return s.Disabled })
}

func (m sealMaker) make(stanzas []config.Seal, o seals.Options) (*seals.Set, error) {
	var members []seals.Seal
	for _, s := range stanzas {
		factory, ok := providers[s.Type]
		if !ok {
			return nil, fmt.Errorf("%s: unknown seal type %q: this program supports %s",
				s.Pos, s.Type, strings.Join(slices.Sorted(maps.Keys(providers)), ", "))
		}
		w, err := factory(seals.Config{Name: s.Name, Type: s.Type, Params: s.Params, Getenv: m.getenv, Log: m.log})
		if err != nil {
			return nil, fmt.Errorf("%s: Error configuring seal %q: %w", s.Pos, s.Name, err)
		}
		members = append(members, seals.Seal{Name: s.Name, Type: s.Type, Wrapper: w})
	}
	o.Log, o.Observe = m.log, m.observe
	return seals.NewSet(members, o)
}
