package config

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/seals"
)

// mostSeals bounds the number of seals: the sealed record has a part for each.
const mostSeals = 16

func (d *decoder) seal(key string, b block) {
	kind := strings.ToLower(b.labels[0])
	names, ok := sealParams[kind]
	if !ok {
		d.fail(b.pos, "%s %s is not a known type: use one of %s", key, short(kind), strings.Join(SealTypes(), ", "))
		return
	}
	sl := Seal{Pos: b.pos, Type: kind, Params: Params{}}
	s := d.section(key+" "+kind, b.body)
	var priority int64
	var purpose string
	s.str("name", &sl.Name)
	s.integer("priority", 1, 1000, &priority)
	s.flag("disabled", &sl.Disabled)
	s.str("purpose", &purpose) // Vault parses it and does not use it
	sl.Priority = int(priority)
	if len(b.labels) == 2 {
		if sl.Name != "" && sl.Name != b.labels[1] {
			d.fail(b.pos, "%s %s has two names: remove the label or the key name", key, kind)
		}
		sl.Name = b.labels[1]
	}
	for _, p := range strings.Fields(names) {
		if f, ok := s.take(p); ok {
			if f.val.kind == isList {
				d.fail(f.pos, "%s takes one value, not a list", s.label(p))
				continue
			}
			sl.Params[p] = f.val.text
		}
	}
	s.finish()
	d.cfg.Seals = append(d.cfg.Seals, sl)
}

// SealTypes are the types that a seal stanza may have, sorted. A build may support fewer.
func SealTypes() []string { return slices.Sorted(maps.Keys(sealParams)) }

func (d *decoder) sealPolicy(b block) {
	if d.cfg.SealPolicy.Pos != (Pos{}) {
		d.fail(b.pos, "duplicate seal_policy stanza: the first is at %s", d.cfg.SealPolicy.Pos)
		return
	}
	p := SealPolicy{Pos: b.pos, Mode: PolicyAny}
	s := d.section("seal_policy", b.body)
	var k int64
	var named string
	s.choice("mode", []string{PolicyAny, PolicyThreshold}, &p.Mode)
	s.str("policy", &named)
	s.integer("threshold", 2, mostSeals, &k)
	s.flag("allow_change", &p.AllowChange)
	s.flag("auto_rewrap_to_survivors", &p.AutoRewrap)
	p.Threshold = int(k)
	s.finish()
	_, given := s.seen["threshold"]
	_, hasMode := s.seen["mode"]
	_, hasPolicy := s.seen["policy"]
	switch {
	case hasPolicy && (given || hasMode):
		d.fail(b.pos, "seal_policy: policy says which seals are needed: remove mode and threshold")
	case hasPolicy:
		var err error
		if p.Named, err = seals.ParsePlan(named); err != nil {
			d.fail(b.pos, "seal_policy: %v", err)
		}
		p.Mode = PolicyNamed
	case p.Mode == PolicyAny && given:
		d.fail(b.pos, `seal_policy: threshold requires mode = "threshold"; with "any" each seal alone unseals`)
	case p.Mode == PolicyThreshold && !given:
		d.fail(b.pos, "seal_policy: mode threshold requires threshold, from 2 to the number of seals")
	}
	d.cfg.SealPolicy = p
}

func (d *decoder) checkSeals() {
	c := d.cfg
	if len(c.Seals) > mostSeals {
		d.fail(c.Seals[mostSeals].Pos, "more than %d seals", mostSeals)
	}
	enabled, shamir := 0, 0
	byName := map[string]Pos{}
	for i := range c.Seals {
		sl := &c.Seals[i]
		sl.Name = cmp.Or(sl.Name, sl.Type)
		if first, twice := byName[sl.Name]; twice {
			d.fail(sl.Pos, `seal: the seal at %s has the same name: give each a name, as in seal %q "primary" { ... }`, first,
				sl.Type)
		}
		byName[sl.Name] = sl.Pos
		if !sl.Disabled {
			enabled++
		}
		if !sl.Disabled && sl.Type == "shamir" {
			shamir++
		}
		if shamir > 1 {
			shamir = 1 // reported once for each
			d.fail(sl.Pos, "seal: a second seal of type shamir: the cluster has one set of unseal shares")
		}
		if !validName(sl.Name) {
			d.fail(sl.Pos, "seal: a name is 1 to 64 letters, digits, dots, hyphens and underscores")
		}
	}
	if len(c.Seals) > 1 && enabled == 0 {
		d.fail(c.Seals[0].Pos, "seal: %d seals provided but all are disabled; enable the one to migrate to", len(c.Seals))
	}
	if c.SealPolicy.Mode == PolicyThreshold && c.SealPolicy.Threshold > enabled {
		d.fail(c.SealPolicy.Pos, "seal_policy: threshold %d exceeds the number of enabled seals, which is %d",
			c.SealPolicy.Threshold, enabled)
	}
	for _, name := range c.SealPolicy.Named.Members {
		if !slices.ContainsFunc(c.Seals, func(s Seal) bool { return s.Name == name && !s.Disabled }) {
			d.fail(c.SealPolicy.Pos, "seal_policy: no enabled seal is named %q", name)
		}
	}
	slices.SortStableFunc(c.Seals, func(a, b Seal) int { return cmp.Compare(rank(a), rank(b)) })
}

// Plan returns the policy over the enabled seals.
func (c *Config) Plan() seals.Plan {
	if c.SealPolicy.Mode == PolicyNamed {
		return c.SealPolicy.Named
	}
	p := seals.Plan{Threshold: max(1, c.SealPolicy.Threshold)}
	for i := range c.Seals {
		if !c.Seals[i].Disabled {
			p.Members = append(p.Members, c.Seals[i].Name)
		}
	}
	return p
}

func rank(s Seal) int {
	if s.Priority == 0 {
		return 1 << 20
	}
	return s.Priority
}

func validName(name string) bool {
	for _, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && !strings.ContainsRune("._-", r) {
			return false
		}
	}
	return len(name) >= 1 && len(name) <= 64
}
