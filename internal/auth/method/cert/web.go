package cert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

const fetchTime = 10 * time.Second

// web fetches revocation lists and OCSP answers. URLs come from administrators and from
// certificates of trusted CAs; what the server reads there reaches no client. It follows no
// redirect, and connects to no address of one link alone, where clouds have their metadata.
type web struct{ client *http.Client }

func newWeb() *web {
	dial := &net.Dialer{Timeout: fetchTime, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !fetchable(at.Addr()) {
			return errors.New("the address is not one to fetch from: link-local, multicast or unspecified")
		}
		return nil
	}}
	return &web{&http.Client{
		Timeout: fetchTime,
		Transport: &http.Transport{DialContext: dial.DialContext, Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true,
			TLSHandshakeTimeout: fetchTime, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func fetchable(a netip.Addr) bool {
	a = a.Unmap()
	return !a.IsLinkLocalUnicast() && !a.IsMulticast() && !a.IsUnspecified()
}

func (w *web) get(ctx context.Context, at string) ([]byte, error) {
	return w.send(ctx, http.MethodGet, at, "", nil)
}

func (w *web) post(ctx context.Context, at, kind string, body []byte) ([]byte, error) {
	return w.send(ctx, http.MethodPost, at, kind, body)
}

func (w *web) send(ctx context.Context, verb, at, kind string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, verb, at, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	a, err := w.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", a.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(a.Body, maxCRL*2+1))
	if err == nil && len(raw) > maxCRL*2 { // PEM is longer than DER
		err = fmt.Errorf("the answer has more than %d bytes", maxCRL*2)
	}
	return raw, err
}
