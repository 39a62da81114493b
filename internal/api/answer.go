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

// orNothing is the answer to a read of what is not there.
func OrNotFound(err error) (*Answer, error) {
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	return nil, err
}

// orNothingThere is the answer to a change of what is not there.
func OrBareNotFound(err error) (*Answer, error) {
	if fault.Is(err, fault.NotFound) {
		return nil, errNoSuchPage
	}
	return nil, err
}

// answer is what a handler gives back. A nil answer is 404 to a read or list and 204 to a write.
type Answer struct {
	Status   int // 0: 200
	Data     any // json.RawMessage goes out as it is
	Lease    int
	Warnings []string

	LeaseID   string
	Renewable bool        // the lease
	Auth      *AuthAnswer // a token that was made or renewed
	Created   bool        // auth is a new token, which nobody else knows
	wrap      *WrapAnswer // the answer itself lies in a wrapping token
}

// authAnswer is a token as the answer that makes it tells of it.
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

// wrapAnswer is a wrapping token.
type WrapAnswer struct {
	Token           string `json:"token"`
	Accessor        string `json:"accessor"`
	TTL             int64  `json:"ttl"` // seconds
	CreationTime    string `json:"creation_time"`
	CreationPath    string `json:"creation_path"`
	WrappedAccessor string `json:"wrapped_accessor,omitempty"`
}

// done is the answer to a read that has found nothing, and to a write that has nothing to tell.
func Done() (*Answer, error) { return nil, nil }

func Show(data any) (*Answer, error) { return &Answer{Data: data}, nil }

// opaque is a body that is not JSON: it goes out as it is, of bare routes alone, and the audit trail does not show it.
type Opaque []byte

// inSeconds renders a duration as answers have it.
func InSeconds(d time.Duration) int64 { return int64(d / time.Second) }

// listed is the answer to a list; without names it is 404.
func List(names []string, err error) (*Answer, error) {
	if err != nil || len(names) == 0 {
		return nil, err
	}
	return Keys(names)
}
