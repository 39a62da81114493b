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

// newSeals makes the seal set of the configuration: a Shamir seal if it names none.
func newSeals(c *config.Config, getenv func(string) string, log *slog.Logger,
	observe func(string, string, time.Duration, error),
) (*seals.Set, error) {
	stanzas := c.Seals
	if len(stanzas) == 0 {
		stanzas = []config.Seal{{Type: "shamir", Name: "shamir"}}
	}
	var members []seals.Seal
	for _, s := range stanzas {
		if s.Disabled {
			return nil, fmt.Errorf("%s: seal %q is disabled, but seal migration is not supported yet; "+
				"remove the stanza or enable it", s.Pos, s.Name)
		}
		factory, ok := providers[s.Type]
		if !ok {
			return nil, fmt.Errorf("%s: unknown seal type %q: this program supports %s",
				s.Pos, s.Type, strings.Join(slices.Sorted(maps.Keys(providers)), ", "))
		}
		w, err := factory(seals.Config{Name: s.Name, Type: s.Type, Params: s.Params, Getenv: getenv, Log: log})
		if err != nil {
			return nil, fmt.Errorf("%s: Error configuring seal %q: %w", s.Pos, s.Name, err)
		}
		members = append(members, seals.Seal{Name: s.Name, Type: s.Type, Wrapper: w})
	}
	threshold := 1
	if c.SealPolicy.Mode == config.PolicyThreshold {
		threshold = c.SealPolicy.Threshold
	}
	return seals.NewSet(members, seals.Options{
		Threshold: threshold, AllowPolicyChange: c.SealPolicy.AllowChange, Log: log, Observe: observe,
	})
}
