package config

import (
	"cmp"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Gateway is one gateway stanza: a protocol of other systems over the server's keys.
type Gateway struct {
	Pos      Pos
	Type     string // "kmsv2" or "xks"
	Name     string // of metrics and audit entries; by default the type
	Mount    string // of the keys (kmsv2: "transit") or of the stores (xks: "xks")
	Deadline time.Duration

	// Of kmsv2.
	Socket   string   // absolute
	Key      string   // name of the transit key
	Policies []string // that decide
	PeerUIDs []uint32 // users that may call, besides root and the server's own
	Budget   time.Duration
	Foreign  bool // decrypt_foreign

	// Of xks: its own listener, nil where the listeners of the API answer it.
	Listener *Listener
}

func (g Gateway) title() string { return "gateway " + g.Type + " " + strconv.Quote(g.Name) }

var gatewayName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// gateway reads a protocol that this server speaks to other systems:
//
//	gateway "kmsv2" {
//	  socket   = "/run/sealgate/kms.sock"
//	  mount    = "transit"
//	  key      = "kubernetes"
//	  policies = ["kubernetes"]
//	}
//
//	gateway "xks" {
//	  mount         = "xks"
//	  address       = "0.0.0.0:8443"
//	  tls_cert_file = "..."
//	  tls_key_file  = "..."
//	}
func (d *decoder) gateway(b block) {
	g := Gateway{Pos: b.pos, Type: strings.ToLower(b.labels[0])}
	s := d.section("gateway "+g.Type, b.body)
	s.str("name", &g.Name)
	g.Name = cmp.Or(g.Name, g.Type)
	if !gatewayName.MatchString(g.Name) {
		d.fail(b.pos, "gateway %s: name must be of lower-case letters, digits, - and _, at most 63", g.Type)
	}
	switch g.Type {
	case "kmsv2":
		d.kmsv2(s, &g)
		d.kmsPolicies(s, &g)
	case "xks":
		d.xks(s, &g)
	default:
		d.fail(b.pos, `gateway %s is not known: use "kmsv2" or "xks"`, short(g.Type))
		return
	}
	s.finish(foreignListener)
	for _, other := range d.cfg.Gateways {
		if other.title() == g.title() {
			d.fail(b.pos, "%s is already at %s: give one of them another name", g.title(), other.Pos)
		}
		if g.Type == "xks" && other.Type == g.Type && g.Listener == nil && other.Listener == nil {
			d.fail(b.pos, "%s has no address, as %s at %s: one XKS proxy at most shares the listeners of the API", g.title(),
				other.title(), other.Pos)
		}
		if g.Socket != "" && other.Socket == g.Socket {
			d.fail(b.pos, "%s has the socket of %s: each needs its own", g.title(), other.title())
		}
	}
	d.cfg.Gateways = append(d.cfg.Gateways, g)
}

func (d *decoder) kmsv2(s *section, g *Gateway) {
	g.Mount, g.Deadline = "transit", 2*time.Second
	s.str("socket", &g.Socket)
	s.str("mount", &g.Mount)
	s.str("key", &g.Key)
	for _, word := range s.words("peer_uids") {
		n, err := strconv.ParseUint(word, 10, 32)
		if err != nil {
			d.fail(s.posOf("peer_uids"), "%s must be a list of user ids, which are numbers", s.label("peer_uids"))
			continue
		}
		g.PeerUIDs = append(g.PeerUIDs, uint32(n))
	}
	s.duration("outage_budget", &g.Budget)
	s.duration("deadline", &g.Deadline)
	s.flag("decrypt_foreign", &g.Foreign)
	switch {
	case !filepath.IsAbs(g.Socket):
		d.fail(g.Pos, "socket must be an absolute path, in a folder that only its users can enter")
	case g.Key == "":
		d.fail(g.Pos, "key is missing; name a transit key of the mount %q", g.Mount)
	case g.Deadline <= 0 || g.Deadline > 10*time.Second:
		d.fail(g.Pos, "deadline must be more than 0 and at most 10s; the API server waits 3s by default")
	}
}

// kmsPolicies reads what decides in the server. The sidecar has a token instead.
func (d *decoder) kmsPolicies(s *section, g *Gateway) {
	g.Policies = s.words("policies")
	switch {
	case len(g.Policies) == 0:
		d.fail(g.Pos, `gateway kmsv2: policies is missing; name a policy that allows update on "%s/encrypt/%s" and `+
			`"%[1]s/decrypt/%[2]s"`, strings.Trim(g.Mount, "/"), g.Key)
	case slices.Contains(g.Policies, "root"):
		d.fail(g.Pos, "gateway kmsv2: policies must not name root; name a policy for this key alone")
	}
}

func (d *decoder) xks(s *section, g *Gateway) {
	g.Mount, g.Deadline = "xks", 200*time.Millisecond
	s.str("mount", &g.Mount)
	s.duration("deadline", &g.Deadline)
	if g.Deadline <= 0 || g.Deadline > 10*time.Second {
		d.fail(g.Pos, "gateway xks: deadline must be more than 0 and at most 10s; AWS waits 250ms")
	}
	address := ""
	if s.str("address", &address); address == "" {
		return
	}
	l := NewListener(address)
	l.Pos = g.Pos
	d.listenerTLS(s, &l)
	s.duration("http_idle_timeout", &l.HTTPIdleTimeout)
	l.HTTPReadTimeout, l.HTTPReadHeaderTimeout = 5*time.Second, 5*time.Second
	if l.TLSDisable {
		d.note(g.Pos, "gateway xks.tls_disable", true, "the proxy answers without TLS: AWS needs TLS with a certificate of "+
			"a public CA, which a balancer before this address has to provide")
	}
	d.checkAddress(g.Pos, "address", address)
	d.checkTLS(l)
	g.Listener = &l
}
