package api

import (
	"time"

	"github.com/sealgate/sealgate/internal/fault"
)

// Keys answers a list.
func Keys(names []string) (*Answer, error) { return Show(keysAnswer{names}) }

type keysAnswer struct {
	Keys []string `json:"keys"`
}

// OrNotFound answers a read of what does not exist.
func OrNotFound(err error) (*Answer, error) {
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	return nil, err
}

// OrBareNotFound answers a change of what does not exist.
func OrBareNotFound(err error) (*Answer, error) {
	if fault.Is(err, fault.NotFound) {
		return nil, errNoSuchPage
	}
	return nil, err
}

// Answer is the result of a handler. A nil answer is 404 to a read or list and 204 to a write.
type Answer struct {
	Status   int // 0: 200
	Data     any // a json.RawMessage is sent as it is
	Lease    int
	Warnings []string

	LeaseID   string
	Renewable bool        // of the lease
	Auth      *AuthAnswer // a token that was created or renewed
	Created   bool        // auth is a new token, which no other answer shows
	wrap      *WrapAnswer // the answer is in a wrapping token
}

// AuthAnswer shows a token that was created or renewed.
type AuthAnswer struct {
	ClientToken    string            `json:"client_token"`
	Accessor       string            `json:"accessor"`
	Policies       []string          `json:"policies"`
	TokenPolicies  []string          `json:"token_policies"`
	Metadata       map[string]string `json:"metadata"`
	LeaseDuration  int64             `json:"lease_duration"` // seconds
	Renewable      bool              `json:"renewable"`
	EntityID       string            `json:"entity_id"`
	TokenType      string            `json:"token_type"`
	Orphan         bool              `json:"orphan"`
	MFARequirement any               `json:"mfa_requirement"` // always null
	NumUses        int64             `json:"num_uses"`
}

// WrapAnswer shows a wrapping token.
type WrapAnswer struct {
	Token           string `json:"token"`
	Accessor        string `json:"accessor"`
	TTL             int64  `json:"ttl"` // seconds
	CreationTime    string `json:"creation_time"`
	CreationPath    string `json:"creation_path"`
	WrappedAccessor string `json:"wrapped_accessor,omitempty"`
}

// Done answers a write that succeeded, and a read that found nothing.
func Done() (*Answer, error) { return nil, nil }

func Show(data any) (*Answer, error) { return &Answer{Data: data}, nil }

// Opaque is a body that is not JSON, or a large document that is the same for all clients. It is
// sent as it is, by bare routes alone, is never changed, and the audit trail does not show it.
type Opaque []byte

// InSeconds renders a duration as answers do.
func InSeconds(d time.Duration) int64 { return int64(d / time.Second) }

// List answers a list; an empty one is 404.
func List(names []string, err error) (*Answer, error) {
	if err != nil || len(names) == 0 {
		return nil, err
	}
	return Keys(names)
}
