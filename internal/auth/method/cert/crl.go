package cert

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
)

const (
	crlPrefix = "crls/"
	maxCRL    = 512 << 10 // bytes of a revocation list, which is one entry of the storage
)

// crl is a record: see [method.Marshal].
type crl struct {
	List    []byte    `json:"list"`          // DER
	URL     string    `json:"url,omitempty"` // where it is fetched again; "": uploaded
	Fetched time.Time `json:"fetched,omitzero"`
}

// revocations is a parsed list. Its issuer is compared when it is used: see [revocations.judge].
type revocations struct {
	digest  [sha256.Size]byte // of the DER
	list    *x509.RevocationList
	serials map[string]bool // big-endian
}

func parseCRL(der []byte) (*revocations, error) {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	for _, x := range list.Extensions {
		if x.Critical { // such as a delta, or a list of some reasons or certificates only: not complete
			return nil, errors.New("the list has a critical extension that is not supported: give a complete list")
		}
	}
	r := &revocations{digest: sha256.Sum256(der), list: list, serials: map[string]bool{}}
	for _, e := range list.RevokedCertificateEntries {
		r.serials[string(e.SerialNumber.Bytes())] = e.ReasonCode != removeFromCRL
	}
	return r, nil
}

// removeFromCRL is the reason of an entry that is revoked no longer (RFC 5280, section 5.3.1).
const removeFromCRL = 8

func (d *backend) crl(ctx context.Context, r *mount.Request, name string) (*mount.Response, error) {
	name, err := method.Name("CRL name", name)
	if err != nil {
		return nil, err
	}
	d.writing.Lock()
	defer d.writing.Unlock()
	if method.IsWrite(r.Operation) {
		return nil, d.writeCRL(ctx, name, field.Map(r.Data))
	}
	record, err := method.Load[crl](ctx, d.store, crlPrefix+name)
	switch {
	case err != nil && r.Operation != mount.Delete:
		return nil, err
	case record == nil && err == nil && (r.Operation == mount.Delete || r.Operation == mount.Read):
		return nil, method.Invalid("no such CRL %s", name)
	case r.Operation == mount.Delete:
		return nil, method.Remove(ctx, d.store, crlPrefix+name)
	case r.Operation == mount.Read:
		return record.show()
	}
	return nil, method.ErrUnsupported
}

func (c *crl) show() (*mount.Response, error) {
	list, err := x509.ParseRevocationList(c.List)
	if err != nil {
		return nil, err
	}
	serials := map[string]any{}
	for _, e := range list.RevokedCertificateEntries {
		serials[e.SerialNumber.String()] = map[string]any{}
	}
	data := map[string]any{"serials": serials, "issuer": list.Issuer.String(), // ours: all but serials
		"this_update": list.ThisUpdate.Format(time.RFC3339), "next_update": ""}
	if !list.NextUpdate.IsZero() {
		data["next_update"] = list.NextUpdate.Format(time.RFC3339)
	}
	if c.URL != "" {
		data["url"], data["fetched"] = c.URL, c.Fetched.Format(time.RFC3339)
	}
	return &mount.Response{Data: data}, nil
}

// writeCRL stores a list that the request has, or that its URL has.
func (d *backend) writeCRL(ctx context.Context, name string, f field.Map) error {
	var text string
	c := &crl{}
	if err := field.First(f.Text("crl", &text), f.Text("url", &c.URL)); err != nil {
		return err
	}
	switch {
	case !f.Has("crl") && !f.Has("url"):
		return method.Invalid("one of 'crl' or 'url' must be provided")
	case f.Has("crl"):
		c.URL, c.List = "", []byte(text)
		if block, _ := pem.Decode(c.List); block != nil {
			c.List = block.Bytes
		}
	case c.URL == "":
		return method.Invalid("empty CRL url")
	default:
		if err := checkURL(c.URL); err != nil {
			return method.Invalid("invalid CRL url: %v", err)
		}
		list, err := d.web.get(ctx, c.URL)
		if err != nil {
			return fault.Wrap(err, fault.Unavailable, "the CRL could not be fetched; the server's log has the cause")
		}
		c.List, c.Fetched = list, d.now().UTC()
		if block, _ := pem.Decode(c.List); block != nil {
			c.List = block.Bytes
		}
	}
	if len(c.List) > maxCRL {
		return fault.New(fault.TooLarge, "the CRL has %d bytes; at most %d are accepted: use OCSP (ocsp_enabled)",
			len(c.List), maxCRL)
	}
	if _, err := parseCRL(c.List); err != nil {
		return method.Invalid("failed to parse CRL: %v", err)
	}
	return method.Save(ctx, d.store, crlPrefix+name, c)
}

// checkURL refuses what the server does not fetch from. Addresses are checked when they are
// dialled.
func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return errors.New("it must begin with http:// or https://, and have no user name")
	}
	return nil
}

// Tick implements [mount.Ticker]: it fetches lists that are due again.
func (d *backend) Tick(ctx context.Context) error {
	names, err := d.store.List(ctx, crlPrefix, "", 0)
	if err != nil {
		return err
	}
	var all []error
	for _, name := range names {
		all = append(all, d.refresh(ctx, name))
	}
	return errors.Join(all...)
}

// refreshAfter is how long a list is kept at most before it is fetched again.
const refreshAfter = time.Hour

// refresh fetches a list again when half of its life is over, or after an hour. The new list must
// be of the same issuer and not older: who answers for the URL cannot make the server forget
// revocations.
func (d *backend) refresh(ctx context.Context, name string) error {
	old, err := method.Load[crl](ctx, d.store, crlPrefix+name)
	if err != nil || old == nil || old.URL == "" {
		return err
	}
	was, err := parseCRL(old.List)
	if err != nil {
		return err
	}
	wait := refreshAfter
	if next := was.list.NextUpdate; !next.IsZero() {
		wait = min(wait, max(next.Sub(old.Fetched)/2, time.Minute))
	}
	if d.now().Before(old.Fetched.Add(wait)) {
		return nil
	}
	der, err := d.web.get(ctx, old.URL)
	if err != nil {
		return method.Invalid("cert: the CRL %q cannot be fetched again: %v", name, err)
	}
	if block, _ := pem.Decode(der); block != nil {
		der = block.Bytes
	}
	next, err := parseCRL(der)
	switch {
	case err != nil || len(der) > maxCRL:
		return method.Invalid("cert: what the URL of the CRL %q has is not a CRL: the list of before stays", name)
	case !bytes.Equal(next.list.RawIssuer, was.list.RawIssuer) ||
		!bytes.Equal(next.list.AuthorityKeyId, was.list.AuthorityKeyId):
		return method.Invalid("cert: the URL of the CRL %q has a list of another issuer: the list of before stays; write "+
			"the CRL again if that is right", name)
	case next.list.ThisUpdate.Before(was.list.ThisUpdate) || older(next.list.Number, was.list.Number):
		return method.Invalid("cert: the URL of the CRL %q has an older list: the list of before stays", name)
	}
	d.writing.Lock()
	defer d.writing.Unlock()
	if now, err := method.Load[crl](ctx, d.store, crlPrefix+name); err != nil || now == nil || now.URL != old.URL {
		return err // written or deleted meanwhile
	}
	return method.Save(ctx, d.store, crlPrefix+name, &crl{List: der, URL: old.URL, Fetched: d.now().UTC()})
}

func older(next, was *big.Int) bool { return next != nil && was != nil && next.Cmp(was) < 0 }

// lists returns the parsed lists. They are parsed again when the stored bytes are others.
func (d *backend) lists(ctx context.Context) ([]*revocations, error) {
	names, err := d.store.List(ctx, crlPrefix, "", 0)
	if err != nil {
		return nil, err
	}
	var all []*revocations
	next := map[string]*revocations{}
	d.mu.Lock()
	known := d.parsed
	d.mu.Unlock()
	for _, name := range names {
		record, err := method.Load[crl](ctx, d.store, crlPrefix+name)
		if err != nil {
			return nil, err
		}
		if record == nil {
			continue
		}
		r := known[name]
		if r == nil || r.digest != sha256.Sum256(record.List) {
			if r, err = parseCRL(record.List); err != nil {
				return nil, fault.Wrap(err, fault.Internal, "the CRL %q is damaged; write it again", strings.ToLower(name))
			}
		}
		next[name] = r
		all = append(all, r)
	}
	d.mu.Lock()
	d.parsed = next
	d.mu.Unlock()
	return all, nil
}
