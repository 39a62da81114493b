package audit

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sealgate/sealgate/internal/fault"
)

// settings are a device's parsed options.
type settings struct {
	raw          bool // log_raw
	hmacAccessor bool
	elide        bool // elide_list_responses
	prefix       string
	skipTest     bool

	file    string      // path; "" for other types
	folder  string      // that confines the file; "": none
	mode    os.FileMode // of a file; 0: unchanged
	network string      // of a socket
	address string
	timeout time.Duration

	facility, tag string // of syslog
}

// Types lists the device types.
var Types = []string{"file", "socket", "syslog"}

// maxDevices bounds the table, because every request writes to each device.
const maxDevices = 16

// optionsOf lists, by type, the known options beside the common ones.
var optionsOf = map[string][]string{
	"":       {"format", "log_raw", "hmac_accessor", "elide_list_responses", "prefix", "skip_test"},
	"file":   {"file_path", "path", "mode"},
	"socket": {"address", "socket_type", "write_timeout"},
	"syslog": {"facility", "tag"},
}

// Check validates a device's configuration without opening anything. Errors are [fault.Invalid].
func Check(c Config, allowPrefix bool) error {
	if _, err := CleanPath(c.Path); err != nil {
		return err
	}
	_, err := parse(c, allowPrefix)
	return err
}

// CleanPath returns a device's path as the table stores it, with one trailing slash.
func CleanPath(path string) (string, error) {
	clean := strings.Trim(path, "/")
	bad := func(r rune) bool { return !unicode.IsPrint(r) || r == ' ' }
	if clean == "" || len(clean) > 256 || !utf8.ValidString(clean) || strings.ContainsFunc(clean, bad) {
		return "", fault.New(fault.Invalid, "the path of the audit device must have 1 to 256 printable characters and no "+
			"space")
	}
	for segment := range strings.SplitSeq(clean, "/") {
		if segment == "" || segment == "." || segment == ".." || strings.ContainsAny(segment, "*+") {
			return "", fault.New(fault.Invalid, "the path of the audit device %q has the segment %q; choose another path", clean,
				segment)
		}
	}
	return clean + "/", nil
}

// parse parses and validates all options. It refuses unknown ones rather than ignoring them.
func parse(c Config, allowPrefix bool) (settings, error) {
	s := settings{hmacAccessor: true}
	if !slices.Contains(Types, c.Type) {
		return s, fault.New(fault.Invalid, "unknown backend type: %q", c.Type)
	}
	for name := range c.Options {
		if !slices.Contains(optionsOf[""], name) && !slices.Contains(optionsOf[c.Type], name) {
			return s, fault.New(fault.Invalid, "unknown option %q of a device of type %s; use one of %s", name, c.Type,
				strings.Join(slices.Concat(optionsOf[c.Type], optionsOf[""]), ", "))
		}
	}
	if format := c.Options["format"]; format != "" && format != "json" {
		return s, fault.New(fault.Invalid, "unknown format type %q: use json", format)
	}
	if s.prefix = c.Options["prefix"]; s.prefix != "" && !allowPrefix {
		return s, fault.New(fault.Invalid, "prefixes are not allowed: set allow_audit_log_prefixing in the server's "+
			"configuration")
	}
	if strings.ContainsAny(s.prefix, "\n\r\x00") {
		return s, fault.New(fault.Invalid, "the prefix must be on one line")
	}
	for name, to := range map[string]*bool{
		"log_raw": &s.raw, "hmac_accessor": &s.hmacAccessor, "elide_list_responses": &s.elide, "skip_test": &s.skipTest,
	} {
		if text := c.Options[name]; text != "" {
			v, err := strconv.ParseBool(text)
			if err != nil {
				return s, fault.New(fault.Invalid, "%s must be true or false", name)
			}
			*to = v
		}
	}
	switch c.Type {
	case "file":
		return s, s.parseFile(c.Options)
	case "socket":
		return s, s.parseSocket(c.Options)
	}
	return s, s.parseSyslog(c.Options)
}

func (s *settings) parseFile(o map[string]string) error {
	if s.file = o["file_path"]; s.file == "" {
		s.file = o["path"]
	}
	if s.file == "" {
		return fault.New(fault.Invalid, "file_path is required")
	}
	s.mode = 0o600
	if text := o["mode"]; text != "" {
		m, err := strconv.ParseUint(text, 8, 32)
		if err != nil || m > 0o777 {
			return fault.New(fault.Invalid, "mode must be an octal number from 0000 (keep the file's) to 0777")
		}
		s.mode = os.FileMode(m) &^ 0o111 // a log is never executable
	}
	return nil
}

func (s *settings) parseSocket(o map[string]string) error {
	if s.address = o["address"]; s.address == "" {
		return fault.New(fault.Invalid, "address is required")
	}
	if s.network = o["socket_type"]; s.network == "" {
		s.network = "tcp"
	}
	if !slices.Contains([]string{"tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", "unix", "unixgram"}, s.network) {
		return fault.New(fault.Invalid, "socket_type %q is unknown: use tcp, udp or unix", s.network)
	}
	if !strings.HasPrefix(s.network, "unix") {
		if _, _, err := net.SplitHostPort(s.address); err != nil {
			return fault.New(fault.Invalid, "address must be host:port")
		}
	}
	s.timeout = defaultDeadline
	if text := o["write_timeout"]; text != "" {
		d, err := time.ParseDuration(text)
		if n, e := strconv.Atoi(text); e == nil {
			d, err = time.Duration(n)*time.Second, nil
		}
		if err != nil || d <= 0 || d > time.Minute {
			return fault.New(fault.Invalid, `write_timeout must be a duration up to one minute, such as "2s"`)
		}
		s.timeout = d
	}
	return nil
}

// facilities are those of RFC 5424, by their names in syslog.h.
var facilities = []string{
	"KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV", "FTP",
	"", "", "", "", "LOCAL0", "LOCAL1", "LOCAL2", "LOCAL3", "LOCAL4", "LOCAL5", "LOCAL6", "LOCAL7",
}

func (s *settings) parseSyslog(o map[string]string) error {
	s.facility, s.tag = "AUTH", "vault"
	if name := strings.ToUpper(o["facility"]); name != "" {
		s.facility = name
	}
	if !slices.Contains(facilities, s.facility) {
		return fault.New(fault.Invalid, "facility %q is unknown: use one of %s", s.facility,
			strings.Join(slices.DeleteFunc(slices.Clone(facilities), func(n string) bool { return n == "" }), ", "))
	}
	if tag := o["tag"]; tag != "" {
		s.tag = tag
	}
	if strings.ContainsFunc(s.tag, func(r rune) bool { return r <= ' ' || r >= 0x7f }) || len(s.tag) > 48 {
		return fault.New(fault.Invalid, "tag must have at most 48 printable ASCII characters")
	}
	return nil
}

// String describes the destination, for logs.
func (s settings) String() string {
	switch {
	case s.file != "":
		return "file " + s.file
	case s.network != "":
		return fmt.Sprintf("%s %s", s.network, s.address)
	}
	return "syslog"
}
