package config

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/version"
)

// Defaults; Vault and OpenBao have the same.
const (
	defaultLeaseTTL        = 768 * time.Hour
	defaultRequestDuration = 90 * time.Second
)

// decoder converts bodies to a Config, one file after the other.
type decoder struct {
	cfg  *Config
	errs []error
	set  map[string]Pos // where a top-level key was set: a later file may set it again
}

func newDecoder() *decoder {
	return &decoder{set: map[string]Pos{}, cfg: &Config{
		DefaultLeaseTTL:           defaultLeaseTTL,
		MaxLeaseTTL:               defaultLeaseTTL,
		DefaultMaxRequestDuration: defaultRequestDuration,
		LogLevel:                  slog.LevelInfo,
		LogFormat:                 "standard",
		SealPolicy:                SealPolicy{Mode: PolicyAny},
		APIVersion:                version.APILevel,
		Ceremony:                  defaultCeremony(),
		Telemetry:                 defaultTelemetry(),
	}}
}

func (d *decoder) fail(p Pos, format string, args ...any) {
	d.errs = append(d.errs, &Error{p, fmt.Sprintf(format, args...)})
}

func (d *decoder) note(p Pos, key string, warn bool, text string) {
	d.cfg.Notes = append(d.cfg.Notes, Note{Pos: p, Key: clip(key), Text: text, Warn: warn})
}

// file decodes the body of one file. A scalar replaces that of an earlier file, with a note;
// stanzas are added.
func (d *decoder) file(b *body) {
	s := d.section("", b)
	for key, p := range s.seen {
		if first, again := d.set[key]; again && first.File != p.File {
			d.note(p, key, false, fmt.Sprintf("replaces the value of %s", first))
		}
		d.set[key] = p
	}
	c := d.cfg
	s.str("redirect_addr", &c.APIAddr) // the old name of api_addr
	s.str("api_addr", &c.APIAddr)
	s.str("cluster_addr", &c.ClusterAddr)
	d.apiVersion(s)
	s.str("cluster_name", &c.ClusterName)
	s.str("cluster_id", &c.ClusterID)
	s.flag("break_glass", &c.BreakGlass)
	s.str("pid_file", &c.PIDFile)
	s.flag("disable_clustering", &c.DisableClustering)
	d.dualControl(s)
	d.fips(s)
	s.flag("ui", &c.UI)
	s.flag("enable_response_header_hostname", &c.ResponseHeaderHost)
	s.duration("default_lease_ttl", &c.DefaultLeaseTTL)
	s.duration("max_lease_ttl", &c.MaxLeaseTTL)
	s.duration("default_max_request_duration", &c.DefaultMaxRequestDuration)
	s.integer("max_request_memory", 0, 1<<50, &c.MaxRequestMemory)
	d.logging(s)
	s.flag("disable_mlock", &c.DisableMlock)
	d.debugging(s)
	d.stanzas(s)
	d.auditCreation(s)
	s.flag("allow_audit_log_prefixing", &c.AuditPrefix)
	d.audits(s.blocks("audit", 2, 2))
	s.finish(foreignTop)
}

// stanzas reads the blocks of a file, but those of audit devices.
func (d *decoder) stanzas(s *section) {
	for _, key := range []string{"storage", "backend"} {
		for _, b := range s.blocks(key, 1, 1) {
			d.storage(key, b)
		}
	}
	for _, key := range []string{"seal", "kms", "hsm"} {
		for _, b := range s.blocks(key, 1, 2) {
			d.seal(key, b)
		}
	}
	for _, stanza := range []struct {
		key    string
		labels int
		decode func(block)
	}{
		{"anchor", 1, d.anchor},
		{"listener", 1, d.listener},
		{"gateway", 1, d.gateway},
		{"snapshot", 1, d.snapshot},
		{"kms_library", 1, d.library},
		{"seal_policy", 0, d.sealPolicy},
		{"service_registration", 1, d.registration},
		{"ceremony", 0, d.ceremony},
		{"user_lockout", 1, d.lockout},
		{"telemetry", 0, d.telemetry},
	} {
		for _, b := range s.blocks(stanza.key, stanza.labels, stanza.labels) {
			stanza.decode(b)
		}
	}
}

// levels are Vault's names of log levels.
var levels = map[string]slog.Level{
	"trace": slog.LevelDebug, "debug": slog.LevelDebug, "info": slog.LevelInfo, "notice": slog.LevelInfo,
	"warn": slog.LevelWarn, "warning": slog.LevelWarn, "error": slog.LevelError, "err": slog.LevelError,
}

// Level returns the slog level for one of Vault's names (trace, debug, info, notice, warn, error).
func Level(word string) (slog.Level, bool) {
	l, ok := levels[strings.ToLower(word)]
	return l, ok
}

func (d *decoder) logging(s *section) {
	var level string
	s.choice("log_level", []string{"trace", "debug", "info", "notice", "warn", "warning", "error", "err"}, &level)
	if l, ok := Level(level); ok {
		d.cfg.LogLevel = l
	}
	s.choice("log_format", []string{"standard", "json"}, &d.cfg.LogFormat)
	f := &d.cfg.LogFile
	f.Every = 24 * time.Hour
	s.str("log_file", &f.Path)
	s.integer("log_rotate_bytes", 0, 1<<50, &f.Bytes)
	s.duration("log_rotate_duration", &f.Every)
	s.integer("log_rotate_max_files", -1, 1<<20, &f.Keep)
	var requests string
	s.choice("log_requests_level", []string{"off", "trace", "debug", "info", "warn", "error"}, &requests)
	if l, ok := Level(requests); ok {
		d.cfg.LogRequests = &l
	}
}

// debugging reads unsafe_allow_debugging, which weakens protection and is therefore logged.
func (d *decoder) debugging(s *section) {
	s.flag("unsafe_allow_debugging", &d.cfg.AllowDebugging)
	if p, ok := s.seen["unsafe_allow_debugging"]; ok && d.cfg.AllowDebugging {
		d.note(p, "unsafe_allow_debugging", true, "processes of this server's user can read its memory with all keys, and a "+
			"crash can write it to a core dump; remove the setting after debugging")
	}
}

// fips reads fips = "required".
func (d *decoder) fips(s *section) {
	var v string
	s.str("fips", &v)
	switch v {
	case "", "off":
	case "required":
		d.cfg.FIPS = true
	default:
		d.fail(s.seen["fips"], `fips must be "required" or "off"`)
	}
}

// dualControl reads what a quorum of shares has to authorise, and what replaces it in a store
// without shares.
func (d *decoder) dualControl(s *section) {
	s.flag("raw_storage_endpoint", &d.cfg.RawStorageEndpoint)
	s.flag("unsafe_allow_forced_restore", &d.cfg.ForcedRestore)
	if p, ok := s.seen["raw_storage_endpoint"]; ok && d.cfg.RawStorageEndpoint {
		d.note(p, "raw_storage_endpoint", true, "each call of sys/raw needs a quorum of shares; in a store without shares, "+
			"one token reads and writes everything behind the barrier")
	}
	if p, ok := s.seen["unsafe_allow_forced_restore"]; ok && d.cfg.ForcedRestore {
		d.note(p, "unsafe_allow_forced_restore", true, "in a store without shares, one token replaces all data by a "+
			"snapshot of another cluster")
	}
}

func (d *decoder) storage(key string, b block) {
	kind := strings.ToLower(b.labels[0])
	if first := d.cfg.Storage; first != nil {
		d.fail(b.pos, "duplicate %s stanza: the first is at %s, and a server has one storage", key, first.Pos)
		return
	}
	st := &Storage{Pos: b.pos, Type: kind}
	s := d.section(key+" "+kind, b.body)
	switch kind {
	case "bbolt", "file":
		s.str("path", &st.Path)
		if st.Path == "" {
			d.fail(b.pos, `%s %q needs a path`, key, kind)
		}
		if kind == "file" {
			d.note(b.pos, key+" file", false, "this folder holds the embedded store; it cannot read files of another server")
		}
	case "inmem":
		d.note(b.pos, key+" inmem", true, "all data is lost when the process ends")
	case "etcd":
		d.etcd(s, st)
		d.cfg.Storage = st
		return
	case "postgresql":
		d.postgresql(s, st)
		d.cfg.Storage = st
		return
	default:
		instead, ok := otherStorage[kind]
		if !ok {
			instead = `use "bbolt" or "file" (embedded, one node), "etcd" or "postgresql" (clusters), or "inmem" (tests)`
		}
		d.fail(b.pos, "%s %s is not supported: %s", key, short(kind), instead)
		return
	}
	s.finish(foreignStorage)
	d.cfg.Storage = st
}

// Complete checks the configuration as a whole, after the command line was applied: it has a
// storage and a listener.
func (c *Config) Complete() error {
	d := &decoder{cfg: c}
	where := Pos{}
	if len(c.Files) > 0 {
		where = Pos{c.Files[len(c.Files)-1], 1}
	}
	if c.Storage == nil {
		d.fail(where, `no storage stanza in any file: add storage "bbolt" { path = "..." }`)
	}
	if len(c.Listeners) == 0 {
		d.fail(where, `no listener stanza in any file: add listener "tcp" { address = "127.0.0.1:8200" ... }`)
	}
	return d.result()
}

// check runs after all files and the environment.
func (d *decoder) check() {
	c := d.cfg
	if p, given := d.set["default_lease_ttl"]; !given {
		c.DefaultLeaseTTL = min(c.DefaultLeaseTTL, c.MaxLeaseTTL)
	} else if c.DefaultLeaseTTL > c.MaxLeaseTTL {
		d.fail(p, "default_lease_ttl must not exceed max_lease_ttl, which is 768h by default")
	}
	if c.DefaultMaxRequestDuration == 0 {
		d.fail(d.set["default_max_request_duration"], "default_max_request_duration must be more than 0")
	}
	d.url("api_addr", c.APIAddr, "http", "https")
	d.clusterAddr()
	d.checkEtcd()
	d.checkAudit()
	d.checkAnchor()
	d.checkListeners()
	d.checkSeals()
}

// url checks an address, and says what is wrong with it.
func (d *decoder) url(key, text string, schemes ...string) {
	if text == "" {
		return
	}
	example := schemes[len(schemes)-1] + "://192.0.2.10:8200"
	u, err := url.Parse(text)
	switch {
	case strings.Contains(text, "{{"):
		d.fail(d.set[key], "%s has a template, which is not supported: give the address itself, such as %s", key, example)
	case err != nil || u.Host == "":
		d.fail(d.set[key], "%s is not a URL: the form is %s", key, example)
	case !slices.Contains(schemes, u.Scheme):
		d.fail(d.set[key], "%s has the scheme %s, which is not supported: use %s", key, short(u.Scheme),
			strings.Join(schemes, " or "))
	}
}

// clusterAddr takes http for https, as Vault does: nodes always use TLS among themselves.
func (d *decoder) clusterAddr() {
	if rest, ok := strings.CutPrefix(d.cfg.ClusterAddr, "http://"); ok {
		d.cfg.ClusterAddr = "https://" + rest
		d.note(d.set["cluster_addr"], "cluster_addr", false, "the scheme http is read as https: nodes always use TLS among "+
			"themselves")
	}
	d.url("cluster_addr", d.cfg.ClusterAddr, "https")
}

// result joins the errors in the order of the files, without duplicates.
func (d *decoder) result() error {
	slices.SortStableFunc(d.errs, func(a, b error) int { return d.order(posOf(a), posOf(b)) })
	return joined(slices.CompactFunc(d.errs, func(a, b error) bool { return a.Error() == b.Error() }))
}

// order compares positions: the environment comes first, then the files in reading order.
func (d *decoder) order(a, b Pos) int {
	return cmp.Or(cmp.Compare(slices.Index(d.cfg.Files, a.File), slices.Index(d.cfg.Files, b.File)),
		cmp.Compare(a.Line, b.Line))
}
