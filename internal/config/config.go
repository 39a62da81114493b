package config

import (
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Config is what all files and the environment together say.
//
// Absent settings hold the defaults named here, so that the zero Config is
// not a usable one: [Load] with no path returns the defaults.
type Config struct {
	Files []string // the files that were read, in order

	Storage    *Storage           // nil where no file names one: see [Config.Complete]
	Listeners  []Listener         // in the order of the files
	Seals      []Seal             // none means a Shamir seal; sorted by priority, then by place
	SealPolicy SealPolicy         // how the seals stand together
	Lockout    map[string]Lockout // by the type of the auth method, or "all"
	Ceremony   Ceremony           // how long ceremonies and their answers last
	Kubernetes *Kubernetes        // nil: the node registers itself nowhere
	Telemetry  Telemetry          // how metrics are shown

	Audit       []Audit // devices of the audit trail, in the order of the files
	AuditByAPI  bool    // unsafe_allow_api_audit_creation: requests may add devices, as clients of Vault expect; true
	AuditPrefix bool    // allow_audit_log_prefixing: a device may write something before every entry; false

	APIAddr           string // URL that clients are sent to; "" to derive it
	ClusterAddr       string // URL for the other nodes; "" to derive it
	ClusterName       string // "" to generate it at init
	DisableClustering bool

	DefaultLeaseTTL           time.Duration // 768h
	MaxLeaseTTL               time.Duration // 768h
	DefaultMaxRequestDuration time.Duration // 90s

	LogLevel  slog.Level // info; "trace" is debug
	LogFormat string     // "standard" or "json"
	LogFile   LogFile    // beside standard error
	// LogRequests is the level at which each answered request is logged (log_requests_level); nil: it is not.
	LogRequests *slog.Level
	PIDFile     string

	RawStorageEndpoint bool // sys/raw
	ResponseHeaderHost bool // enable_response_header_hostname

	Notes []Note // what start-up tells: keys without effect here, names that mean something else here
}

// LogFile is where the log goes too.
type LogFile struct {
	Path  string        // "": nowhere
	Bytes int64         // of a file; 0: any number
	Every time.Duration // how long a file is written; 24h
	Keep  int64         // files that were put aside; 0: all; -1: none
}

// Pos is a place in a file. Its zero value is the environment.
type Pos struct {
	File string
	Line int
}

// String is "file:line".
func (p Pos) String() string {
	if p.File == "" {
		return "environment"
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Note is something that start-up should tell.
type Note struct {
	Pos  Pos
	Key  string // with its block: "listener tcp.telemetry"
	Text string
	Warn bool // less protection than the key asked for, or than usual: to be said loudly
}

// String is one line for a log or a banner.
func (n Note) String() string { return fmt.Sprintf("%s: %s: %s", n.Pos, n.Key, n.Text) }

// Error is one mistake in a file.
type Error struct {
	Pos  Pos
	Text string // cause and remedy, without any value
}

// Error is "file:line: text".
func (e *Error) Error() string { return e.Pos.String() + ": " + e.Text }

// Storage is the storage stanza.
type Storage struct {
	Pos  Pos
	Type string // "bbolt", "file", "inmem", "etcd" or "postgresql"
	// Path is the folder in which the embedded store lives ("bbolt" and "file" are one store
	// with two names); "" for the others. Relative to the working directory.
	Path string
	Etcd *Etcd // for "etcd" alone
	// PostgreSQL is for "postgresql" alone.
	PostgreSQL *PostgreSQL
}

// Listener is one listener stanza.
type Listener struct {
	Pos            Pos
	Type           string // "tcp" or "unix"
	Address        string // host:port (127.0.0.1:8200), or the socket's path
	ClusterAddress string // "" to derive it

	TLSDisable         bool
	TLSCertFile        string // both set unless TLSDisable; relative to the working directory
	TLSKeyFile         string
	TLSMinVersion      uint16 // crypto/tls; TLS 1.2
	TLSMaxVersion      uint16 // crypto/tls; TLS 1.3
	TLSCipherSuites    []uint16
	TLSClientCAFile    string
	TLSRequireClient   bool // tls_require_and_verify_client_cert: needs TLSClientCAFile
	TLSDisableClient   bool // tls_disable_client_certs: do not even request one
	DisableUnauthRekey bool // disable_unauthed_rekey_endpoints; false, as Vault's clients need
	DisableUnauthRoot  bool // disable_unauthed_generate_root_endpoints; false

	MaxRequestSize        int64         // bytes; 33554432
	MaxRequestJSONMemory  int64         // bytes; 34078720
	MaxRequestJSONStrings int64         // 1000
	MaxRequestDuration    time.Duration // 0: Config.DefaultMaxRequestDuration

	HTTPReadHeaderTimeout time.Duration // 10s
	HTTPReadTimeout       time.Duration // 30s
	HTTPIdleTimeout       time.Duration // 5m
	HTTPWriteTimeout      time.Duration // 0: none, the request's own deadline rules

	SocketMode  string // "unix" only: octal, "" for the umask's
	SocketUser  string
	SocketGroup string

	Front Front // proxies, headers, origins, metrics
}

// Seal is one seal stanza.
type Seal struct {
	Pos      Pos
	Type     string // as the constructor map of the program names it
	Name     string // unique; the type where none was given
	Priority int    // 1 is tried first; 0 where none was given, after those with one
	Disabled bool   // the seal to migrate from
	Params   Params // by the provider's names, without name, priority, disabled and purpose
}

// Params are the parameters of a seal, any of which may be a secret: they print as their number alone.
type Params map[string]string

// Format answers every verb of package fmt without the values.
func (p Params) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, p.String()) }

// String tells how many there are.
func (p Params) String() string { return fmt.Sprintf("[%d parameters]", len(p)) }

// LogValue keeps the values out of log/slog.
func (p Params) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalJSON keeps the values out of encoding/json.
func (p Params) MarshalJSON() ([]byte, error) { return []byte(`"` + p.String() + `"`), nil }

// The modes of a [SealPolicy].
const (
	PolicyAny       = "any"       // each seal alone can unseal
	PolicyThreshold = "threshold" // Threshold of the seals are needed together
)

// SealPolicy is the seal_policy stanza.
type SealPolicy struct {
	Pos       Pos
	Mode      string // PolicyAny where there is no stanza
	Threshold int    // PolicyThreshold only: 2 or more, at most the number of seals that are not disabled
}
