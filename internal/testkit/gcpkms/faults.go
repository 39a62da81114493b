package gcpkms

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"sync"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrFault is returned for an invalid fault.
var ErrFault = errors.New("gcpkms: no such fault")

// Fault is one way to fail. Its fields combine: first the delay or the missing answer, then the
// code, else the changed answer.
type Fault struct {
	Method string `json:"method,omitempty"` // "Encrypt", ...; "" is every method
	Times  int    `json:"times,omitempty"`  // number of calls that fail; 0: all until Clear

	DelayMS      int    `json:"delay_ms,omitempty"`     // delay of the answer
	Unresponsive bool   `json:"unresponsive,omitempty"` // accepts the call and does not answer
	Code         string `json:"code,omitempty"`         // fails with this code, such as "UNAVAILABLE"
	Message      string `json:"message,omitempty"`      // and this text

	Lose bool `json:"lose,omitempty"` // executes the call and loses the answer
	// one bit of the ciphertext or plaintext in the answer is changed; its checksum is not
	Corrupt    bool `json:"corrupt,omitempty"`
	NoChecksum bool `json:"nochecksum,omitempty"` // the answer has no checksums
	Unverified bool `json:"unverified,omitempty"` // the answer does not confirm the checksums of the request
	OtherName  bool `json:"othername,omitempty"`  // the answer names another key

	code codes.Code
}

// faults are the active faults and the counters of calls.
type faults struct {
	mu      sync.Mutex
	queue   []*Fault
	calls   map[string]int
	changed chan struct{} // closed when the faults are cleared
}

// Inject adds a fault, which takes effect when earlier faults of its method are used up.
func (s *Service) Inject(f Fault) error {
	if f.Code != "" {
		if err := f.code.UnmarshalJSON(fmt.Appendf(nil, "%q", f.Code)); err != nil || f.code == codes.OK {
			return fmt.Errorf("%w: code %q", ErrFault, f.Code)
		}
	}
	if _, known := methods[f.Method]; f.Method != "" && !known {
		return fmt.Errorf("%w: method %q", ErrFault, f.Method)
	}
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.queue = append(s.faults.queue, &f)
	return nil
}

// Clear removes all faults and releases waiting calls.
func (s *Service) Clear() {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.queue = nil
	close(s.faults.changed)
	s.faults.changed = make(chan struct{})
}

// Calls returns the number of calls of each method since the start, including failed ones.
func (s *Service) Calls() map[string]int {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	return maps.Clone(s.faults.calls)
}

// next counts a call and takes its fault.
func (s *Service) next(short string) (Fault, <-chan struct{}) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.calls[short]++
	for i, f := range s.faults.queue {
		if f.Method != "" && f.Method != short {
			continue
		}
		out := *f
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				s.faults.queue = slices.Delete(s.faults.queue, i, i+1)
			}
		}
		return out, s.faults.changed
	}
	return Fault{}, s.faults.changed
}

// intercept applies faults to every method.
func (s *Service) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any,
	error) {
	short := path.Base(info.FullMethod)
	f, cleared := s.next(short)
	if err := f.wait(ctx, cleared); err != nil {
		return nil, err
	}
	if f.code != codes.OK {
		return nil, status.Error(f.code, f.Message)
	}
	if err := s.admit(ctx, short, req); err != nil {
		return nil, err
	}
	out, err := handler(ctx, req)
	if err != nil {
		return nil, err
	}
	if f.Lose {
		return nil, silence(ctx, cleared)
	}
	f.spoil(out)
	return out, nil
}

func (f *Fault) wait(ctx context.Context, cleared <-chan struct{}) error {
	if f.Unresponsive {
		return silence(ctx, cleared)
	}
	if f.DelayMS == 0 {
		return nil
	}
	timer := time.NewTimer(time.Duration(f.DelayMS) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-cleared:
	case <-ctx.Done():
	}
	return nil
}

// silence waits until the context ends or the faults are cleared.
func silence(ctx context.Context, cleared <-chan struct{}) error {
	select {
	case <-ctx.Done():
	case <-cleared:
	}
	return status.Error(codes.Unavailable, "the answer was lost")
}

// spoil damages an answer.
func (f *Fault) spoil(out any) {
	switch r := out.(type) {
	case *kmspb.EncryptResponse:
		if f.Corrupt {
			r.Ciphertext = flip(r.Ciphertext)
		}
		if f.NoChecksum {
			r.CiphertextCrc32C = nil
		}
		if f.Unverified {
			r.VerifiedPlaintextCrc32C, r.VerifiedAdditionalAuthenticatedDataCrc32C = false, false
		}
		if f.OtherName {
			n, _ := parse(r.Name)
			n.key += "x"
			r.Name = n.String()
		}
	case *kmspb.DecryptResponse:
		if f.Corrupt {
			r.Plaintext = flip(r.Plaintext)
		}
		if f.NoChecksum {
			r.PlaintextCrc32C = nil
		}
	}
}

// flip changes the last bit of a copy.
func flip(b []byte) []byte {
	out := bytes.Clone(b)
	if len(out) > 0 {
		out[len(out)-1] ^= 1
	}
	return out
}
