//go:build unix

package localstack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/testkit/ports"
)

// target is what the header X-Amz-Target has before an action of KMS.
const target = "TrentService."

// Fault is a refusal: a status and a type, as AWS answers.
type Fault struct {
	Status  int
	Type    string // "ThrottlingException"
	Message string
}

// Refusals of AWS that LocalStack lacks. See "Common errors" of the AWS KMS API
// reference.
var (
	Throttled = Fault{http.StatusBadRequest, "ThrottlingException",
		"You have exceeded the rate at which you may call KMS."}
	Denied = Fault{http.StatusBadRequest, "AccessDeniedException",
		"User: arn:aws:iam::000000000000:user/test is not authorized"}
	Expired = Fault{http.StatusBadRequest, "ExpiredTokenException",
		"The security token included in the request is expired"}
	Internal = Fault{http.StatusInternalServerError, "KMSInternalException", ""}
)

// Proxy forwards requests to LocalStack, counts them, and fails on demand. It adds the id of the
// key material to the answers, as AWS does and LocalStack does not: a new id after each
// [Proxy.Rotate].
type Proxy struct {
	URL  string
	addr string
	to   *Server

	mu           sync.Mutex
	server       *http.Server
	unresponsive chan struct{} // closed when it answers again; nil: it answers
	faults       map[string]Fault
	expired      map[string]bool
	garble       bool
	calls        map[string]int
	turns        map[string]int    // rotations by key ARN
	wrapped      map[string]string // ciphertext -> material
	seen         []Call
}

// Call is a request that the proxy received.
type Call struct {
	Action    string
	AccessKey string // id of the access key that signed it
	Region    string // that it was signed for
	Body      map[string]any
}

// NewProxy listens on a free port, in front of a LocalStack, until the test ends.
func NewProxy(t testing.TB, to *Server) *Proxy {
	t.Helper()
	p := &Proxy{to: to, faults: map[string]Fault{}, expired: map[string]bool{}}
	p.calls, p.turns, p.wrapped = map[string]int{}, map[string]int{}, map[string]string{}
	addr, err := ports.Addr()
	if err == nil {
		err = p.listen(addr)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Unresponsive(false)
		if err := p.Away(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *Proxy) listen(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.addr = l.Addr().String()
	p.URL = "http://" + p.addr
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	go func(s *http.Server) { _ = s.Serve(l) }(p.server) // ends by Close
	return nil
}

// Away closes the port and every connection.
func (p *Proxy) Away() error {
	p.mu.Lock()
	s := p.server
	p.server = nil
	p.mu.Unlock()
	if s == nil {
		return nil
	}
	return s.Close()
}

// Back listens again on the same port.
func (p *Proxy) Back() error { return p.listen(p.addr) }

// Unresponsive makes it accept requests without answering; false answers the waiting ones.
func (p *Proxy) Unresponsive(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case on && p.unresponsive == nil:
		p.unresponsive = make(chan struct{})
	case !on && p.unresponsive != nil:
		close(p.unresponsive)
		p.unresponsive = nil
	}
}

// Garble damages every plaintext and ciphertext that is answered: one bit, in well-formed JSON.
func (p *Proxy) Garble(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.garble = on
}

// Refuse answers an action with the fault, every action for "". Allow ends that.
func (p *Proxy) Refuse(action string, f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults[action] = f
}

// Allow ends Refuse.
func (p *Proxy) Allow(action string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.faults, action)
}

// Expire refuses requests signed with the access key of this id.
func (p *Proxy) Expire(accessKey string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expired[accessKey] = true
}

// Rotate gives a key new material at once. LocalStack does so ten times a key.
func (p *Proxy) Rotate(t testing.TB, arn string) {
	t.Helper()
	p.to.Must(t, "RotateKeyOnDemand", map[string]any{"KeyId": arn})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turns[arn]++
}

// Calls returns the number of requests for an action, of all requests for "".
func (p *Proxy) Calls(action string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if action == "" {
		return len(p.seen)
	}
	return p.calls[action]
}

// Last returns the last request for an action.
func (p *Proxy) Last(action string) (Call, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.seen) - 1; i >= 0; i-- {
		if p.seen[i].Action == action {
			return p.seen[i], nil
		}
	}
	return Call{}, fmt.Errorf("localstack: no request for %s", action)
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return // the client is gone
	}
	c := Call{Action: strings.TrimPrefix(r.Header.Get("X-Amz-Target"), target)}
	c.AccessKey, c.Region = signer(r.Header.Get("Authorization"))
	_ = json.Unmarshal(body, &c.Body) // what is no JSON is LocalStack's to refuse
	unresponsive, fault := p.note(c)
	if unresponsive != nil {
		select {
		case <-unresponsive:
		case <-r.Context().Done():
			return
		}
	}
	if fault.Type != "" {
		refuse(w, fault)
		return
	}
	status, answer, err := p.forward(r, body)
	if err != nil {
		panic(http.ErrAbortHandler) // drops the connection
	}
	if status == http.StatusOK {
		answer = p.change(c, answer)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(status)
	_, _ = w.Write(answer) // the client may be gone
}

func (p *Proxy) note(c Call) (unresponsive chan struct{}, f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls[c.Action]++
	p.seen = append(p.seen, c)
	for _, action := range []string{"", c.Action} {
		if fault, ok := p.faults[action]; ok {
			f = fault
		}
	}
	if p.expired[c.AccessKey] {
		f = Expired
	}
	return p.unresponsive, f
}

// signer reads "AWS4-HMAC-SHA256 Credential=ID/DATE/REGION/kms/aws4_request, ...".
func signer(authorization string) (id, region string) {
	_, rest, _ := strings.Cut(authorization, "Credential=")
	parts := strings.SplitN(rest, "/", 4)
	if len(parts) < 4 {
		return "", ""
	}
	return parts[0], parts[2]
}

func refuse(w http.ResponseWriter, f Fault) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-ErrorType", f.Type)
	w.WriteHeader(f.Status)
	body, _ := json.Marshal(map[string]string{"__type": f.Type, "message": f.Message})
	_, _ = w.Write(body)
}

var transport = &http.Transport{DisableKeepAlives: true} // nothing of it outlives a request

func (p *Proxy) forward(r *http.Request, body []byte) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	out, err := http.NewRequestWithContext(ctx, r.Method, p.to.URL+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	out.Header = r.Header.Clone()
	resp, err := transport.RoundTrip(out)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, answer, err
}

// change adds the key material to an answer, and damages the answer after Garble.
func (p *Proxy) change(c Call, answer []byte) []byte {
	var m map[string]any
	if json.Unmarshal(answer, &m) != nil {
		return answer
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	arn, _ := m["KeyId"].(string)
	switch c.Action {
	case "Encrypt":
		blob, _ := m["CiphertextBlob"].(string)
		p.wrapped[blob] = p.material(arn)
	case "Decrypt":
		blob, _ := c.Body["CiphertextBlob"].(string)
		if material, ok := p.wrapped[blob]; ok {
			m["KeyMaterialId"] = material
		}
	case "RotateKeyOnDemand":
		if _, failed := m["__type"]; !failed {
			arn, _ := c.Body["KeyId"].(string)
			p.turns[arn]++
		}
	case "DescribeKey":
		if meta, ok := m["KeyMetadata"].(map[string]any); ok {
			arn, _ := meta["Arn"].(string)
			meta["CurrentKeyMaterialId"] = p.material(arn)
		}
	}
	if p.garble {
		for _, field := range []string{"Plaintext", "CiphertextBlob"} {
			if v, ok := m[field].(string); ok {
				m[field] = flip(v)
			}
		}
	}
	out, err := json.Marshal(m)
	if err != nil {
		return answer
	}
	return out
}

// material is a made-up id of a key's newest material: 64 hexadecimal digits, as AWS has them.
func (p *Proxy) material(arn string) string {
	return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%s %d", arn, p.turns[arn])))
}

// flip changes one bit of a base64 value.
func flip(v string) string {
	b, err := base64.StdEncoding.DecodeString(v)
	if err != nil || len(b) == 0 {
		return v
	}
	b[len(b)/2] ^= 0x10
	return base64.StdEncoding.EncodeToString(b)
}
