package server

import (
	"fmt"
	"strings"

	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/version"
)

// describe collects the lines of the banner, which has no secrets, and logs the notes of the
// configuration.
func (p *instance) describe(cfg *config.Config) {
	add := func(key, format string, args ...any) {
		p.lines = append(p.lines, fmt.Sprintf("%20s: %s", key, fmt.Sprintf(format, args...)))
	}
	for i, l := range cfg.Listeners {
		tls := "TLS"
		if l.TLSDisable {
			tls = "no TLS: an attacker on the network can read and change all requests"
		}
		add(fmt.Sprintf("Listener %d", i+1), "%s %s (%s)", l.Type, l.Address, tls)
	}
	if cfg.UI && p.mode == nil {
		for _, l := range cfg.Listeners {
			if l.Type == "tcp" {
				add("Web Interface", "%s", uiAddress(l))
			}
		}
	}
	where := cfg.Storage.Type
	if cfg.Storage.Path != "" {
		where += " in " + cfg.Storage.Path
	}
	add("Storage", "%s", where)
	if p.peers != nil {
		add("Cluster Address", "%s", p.peers.Addr())
	}
	var names []string
	for _, s := range p.seals.Seals() {
		names = append(names, fmt.Sprintf("%s %q", s.Type, s.Name))
	}
	add("Seal", "%s", strings.Join(names, ", "))
	if p.mode != nil {
		add("Recovery Mode", "true")
	}
	add("Version", "Sealgate v%s", version.Release)
	add("API Version", "Vault v%s", cfg.APIVersion)
	if len(cfg.Files) > 0 {
		add("Configuration", "%s", strings.Join(cfg.Files, ", "))
	}
	for _, note := range cfg.Notes {
		if note.Warn {
			p.log.Warn(note.Text, "key", note.Key, "at", note.Pos.String())
		} else {
			p.log.Info(note.Text, "key", note.Key, "at", note.Pos.String())
		}
	}
}

// uiAddress is where a browser finds the web interface.
func uiAddress(l config.Listener) string {
	if l.TLSDisable {
		return "http://" + l.Address + "/ui/"
	}
	return "https://" + l.Address + "/ui/"
}

func (p *instance) banner() {
	fmt.Fprintln(p.out, "==> Sealgate server configuration:")
	fmt.Fprintln(p.out)
	for _, l := range p.lines {
		fmt.Fprintln(p.out, l)
	}
	fmt.Fprintln(p.out)
	fmt.Fprintln(p.out, "==> Sealgate server started! Log data will stream in below:")
	fmt.Fprintln(p.out)
}
