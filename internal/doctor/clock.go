package doctor

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/sealgate/sealgate/internal/config"
)

// Bounds of a clock's error. AWS refuses signatures that are more than five minutes off.
const (
	skewWarn = 30 * time.Second
	skewFail = 4 * time.Minute
)

// youngest is earlier than this program: a clock with an earlier time was never set.
var youngest = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// dated is a service whose responses have a date.
type dated struct {
	seal config.Seal
	url  string
}

// remember records the address of a seal's service, to compare clocks.
func (e *exam) remember(s config.Seal) {
	address := ""
	switch s.Type {
	case "transit":
		address = s.Params["address"]
	case "awskms":
		address = s.Params["endpoint"]
		if region := s.Params["region"]; address == "" && region != "" {
			address = "https://kms." + region + ".amazonaws.com"
		}
	case "azurekeyvault":
		if name := s.Params["vault_name"]; name != "" {
			address = "https://" + name + ".vault.azure.net"
		}
	case "gcpckms":
		if s.Params["endpoint"] == "" {
			address = "https://cloudkms.googleapis.com"
		}
	case "ocikms":
		address = s.Params["crypto_endpoint"]
	}
	if u, err := url.Parse(address); err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") {
		u.User, u.RawQuery, u.Path = nil, "", "/"
		e.dates = append(e.dates, dated{s, u.String()})
	}
}

// clock compares this machine's clock with those of the seals' services, and with file times.
func (e *exam) clock(ctx context.Context) {
	on := e.on("clock", "", config.Pos{})
	now := e.Now()
	if now.Before(youngest) {
		on.fail("set it, and synchronise it by NTP", "it shows %s", now.UTC().Format(time.RFC3339))
		return
	}
	if e.cfg.Storage.Path != "" {
		files, _ := filepath.Glob(filepath.Join(e.cfg.Storage.Path, "*"))
		for _, f := range files {
			if info, err := os.Stat(f); err == nil && info.ModTime().Sub(now) > skewWarn {
				on.warn("synchronise the clock by NTP", "%s was written at %s, which is in the future: the clock was set back",
					f, info.ModTime().UTC().Format(time.RFC3339))
			}
		}
	}
	compared := 0
	for _, d := range e.dates {
		skew, err := e.skew(ctx, d.url)
		if err != nil {
			continue // the check of the seal reports an unreachable service
		}
		compared++
		switch off := skew.Abs(); {
		case off > skewFail:
			on.fail("synchronise the clock by NTP", "it differs by %s from that of seal %q's service, which refuses requests "+
				"with such a difference",
				off.Round(time.Second), d.seal.Name)
		case off > skewWarn:
			on.warn("synchronise the clock by NTP", "it differs by %s from that of seal %q's service", off.Round(time.Second),
				d.seal.Name)
		default:
			on.ok("it agrees with that of seal %q's service", d.seal.Name)
		}
	}
	if compared == 0 {
		on.ok("it shows %s; there was no service to compare it with", now.UTC().Format(time.RFC3339))
	}
}

// skew is how far this machine's clock is ahead. It uses only a date, so that it does not verify
// the certificate.
func (e *exam) skew(ctx context.Context, from string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, min(e.Deadline, 5*time.Second))
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodHead, from, nil)
	if err != nil {
		return 0, err
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}, //nolint:gosec // see above
	}
	client := &http.Client{Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	begun := e.Now()
	a, err := client.Do(q)
	if err != nil {
		return 0, err
	}
	_ = a.Body.Close()
	date, err := http.ParseTime(a.Header.Get("Date"))
	if err != nil {
		return 0, err
	}
	now := e.Now()
	// the header has a resolution of a second
	return begun.Add(now.Sub(begun) / 2).Sub(date.Add(500 * time.Millisecond)), nil
}
