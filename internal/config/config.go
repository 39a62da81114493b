package config

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/sealgate/sealgate/seals"
)

// Config is the configuration from all files and the environment.
//
// Missing settings have the defaults named here. The zero Config is not usable: [Load] without a
// path returns the defaults.
type Config struct {
	Files []string // the files that were read, in order

	Storage    *Storage           // nil if no file has one: see [Config.Complete]
	Listeners  []Listener         // in the order of the files
	Seals      []Seal             // none means a Shamir seal; sorted by priority, then by position
	SealPolicy SealPolicy         // how many of the seals unseal
	Libraries  []Library          // kms_library, in the order of the files
	Lockout    map[string]Lockout // by type of auth method, or "all"
	Ceremony   Ceremony           // expiry of ceremonies and their responses
	Kubernetes *Kubernetes        // nil: no service registration
	Telemetry  Telemetry          // format of the metrics
	Gateways   []Gateway          // protocols of other systems, in the order of the files

	Snapshots []Snapshot // scheduled, in the order of the files

	Audit []Audit // audit devices, in the order of the files
	// AuditByAPI is unsafe_allow_api_audit_creation: true lets requests create audit devices that
	// write to any file, false forbids them to create devices. Unset, they may create devices that
	// write below AuditFolders, as clients of Vault expect.
	AuditByAPI   *bool
	AuditFolders []string // audit_folders: "/var/log/sealgate", and "audit" in the folder of a bbolt storage
	AuditPrefix  bool     // allow_audit_log_prefixing: a device may write a prefix before each entry; false

	APIAddr           string // URL that clients are redirected to; "" to derive it
	ClusterAddr       string // URL for the other nodes; "" to derive it
	APIVersion        string // the version of Vault that clients see; version.APILevel
	ClusterName       string // "" to generate it at init
	BreakGlass        bool   // an enrolled quorum may unseal this node when its seals fail
	ClusterID         string // refuses a storage of another cluster; "": any
	FIPS              bool   // only algorithms that FIPS 140-3 approves
	Anchor            Anchor // keeps what the node last saw of its storage
	DisableClustering bool

	DefaultLeaseTTL           time.Duration // 768h
	MaxLeaseTTL               time.Duration // 768h
	DefaultMaxRequestDuration time.Duration // 90s
	MaxRequestMemory          int64         // max_request_memory: bytes of all requests in flight; 0: derived

	LogLevel  slog.Level // info; "trace" is debug
	LogFormat string     // "standard" or "json"
	LogFile   LogFile    // in addition to standard error
	// LogRequests is the level at which completed requests are logged (log_requests_level); nil: not
	// at all.
	LogRequests *slog.Level
	PIDFile     string

	RawStorageEndpoint bool // sys/raw
	// ForcedRestore is unsafe_allow_forced_restore: in a store without shares, a token alone restores
	// a snapshot of another cluster.
	ForcedRestore bool
	UI            bool // the web interface below /ui/
	// AllowDebugging is unsafe_allow_debugging: processes of the same user may attach to the server
	// and read its memory, and a crash may dump core.
	AllowDebugging     bool
	DisableMlock       bool // disable_mlock: do not lock the memory of keys
	ResponseHeaderHost bool // enable_response_header_hostname

	Notes []Note // printed at start-up: keys without effect, names with another meaning
}

// LogFile is the log file.
type LogFile struct {
	Path  string        // "": none
	Bytes int64         // largest size; 0: no limit
	Every time.Duration // longest time before a rotation; 24h
	Keep  int64         // rotated files to keep; 0: all; -1: none
}

// Pos is a position in a file. Its zero value stands for the environment.
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

// Note is a message about a setting, which start-up prints.
type Note struct {
	Pos  Pos
	Key  string // with its block: "listener tcp.telemetry"
	Text string
	Warn bool // the setting weakens protection, or protects less than the key asks for
}

// String is one line for a log or a banner.
func (n Note) String() string { return fmt.Sprintf("%s: %s: %s", n.Pos, n.Key, n.Text) }

// Error is one error in a file.
type Error struct {
	Pos  Pos
	Text string // cause and remedy, without a value
}

// Error is "file:line: text".
func (e *Error) Error() string { return e.Pos.String() + ": " + e.Text }

// Storage is the storage stanza.
type Storage struct {
	Pos  Pos
	Type string // "bbolt", "file", "inmem", "etcd" or "postgresql"
	// Path is the folder of the embedded store ("bbolt" and "file" are two names of one store),
	// relative to the working directory; "" for the other types.
	Path       string
	Etcd       *Etcd       // for "etcd" only
	PostgreSQL *PostgreSQL // for "postgresql" only
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
	TLSDisableClient   bool // tls_disable_client_certs: do not request one
	DisableUnauthRekey bool // disable_unauthed_rekey_endpoints; false, because Vault's clients need them
	DisableUnauthRoot  bool // disable_unauthed_generate_root_endpoints; false

	MaxRequestSize        int64         // bytes; 33554432
	MaxRequestJSONMemory  int64         // bytes; 34078720
	MaxRequestJSONStrings int64         // 1000
	MaxRequestDuration    time.Duration // 0: Config.DefaultMaxRequestDuration

	HTTPReadHeaderTimeout time.Duration // 10s
	HTTPReadTimeout       time.Duration // 30s
	HTTPIdleTimeout       time.Duration // 5m
	HTTPWriteTimeout      time.Duration // 0: none; the request has its own deadline

	SocketMode  string // "unix" only: octal, "" for the umask's
	SocketUser  string
	SocketGroup string

	Front Front // proxies, headers, origins, metrics
}

// Seal is one seal stanza.
type Seal struct {
	Pos      Pos
	Type     string // as in the program's table of providers
	Name     string // unique; by default the type
	Priority int    // 1 is tried first; 0: none, after those with a priority
	Disabled bool   // the seal to migrate from
	Params   Params // by the provider's names, without name, priority, disabled and purpose
}

// Params are the parameters of a seal. Any of them may be a secret, so that only their number is
// printed.
type Params map[string]string

// Format prints no values for any verb of package fmt.
func (p Params) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, p.String()) }

// String is the number of parameters.
func (p Params) String() string { return fmt.Sprintf("[%d parameters]", len(p)) }

// LogValue keeps the values out of log/slog.
func (p Params) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalJSON keeps the values out of encoding/json.
func (p Params) MarshalJSON() ([]byte, error) { return []byte(`"` + p.String() + `"`), nil }

// The modes of a [SealPolicy].
const (
	PolicyAny       = "any"       // each seal alone can unseal
	PolicyThreshold = "threshold" // a threshold of the seals is needed
	PolicyNamed     = "policy"    // the seals that unseal together are named, in groups
)

// SealPolicy is the seal_policy stanza.
type SealPolicy struct {
	Pos       Pos
	Mode      string     // PolicyAny without a stanza
	Threshold int        // for PolicyThreshold: from 2 to the number of enabled seals
	Named     seals.Plan // for PolicyNamed: policy = "any(hsm_a, hsm_b) and custodians"

	// AllowChange (allow_change) lets this policy replace another one that the store has.
	AllowChange bool
	// AutoRewrap (auto_rewrap_to_survivors) takes the root key from a seal whose key is about to be
	// lost, where the others satisfy the policy.
	AutoRewrap bool
}
