package api

import (
	"context"
	"time"
)

type tokenAnswer struct {
	Accessor       string   `json:"accessor"`
	CreationTime   int64    `json:"creation_time"`
	CreationTTL    int64    `json:"creation_ttl"`
	DisplayName    string   `json:"display_name"`
	EntityID       string   `json:"entity_id"`
	ExpireTime     *string  `json:"expire_time"`
	ExplicitMaxTTL int64    `json:"explicit_max_ttl"`
	ID             string   `json:"id"`
	IssueTime      string   `json:"issue_time,omitempty"` // of tokens that expire
	Meta           any      `json:"meta"`
	NumUses        int      `json:"num_uses"`
	Orphan         bool     `json:"orphan"`
	Path           string   `json:"path"`
	Policies       []string `json:"policies"`
	TTL            int64    `json:"ttl"`
	Type           string   `json:"type"`
}

// lookupSelf tells the bearer of a token about it.
func (h *handler) lookupSelf(ctx context.Context, q *request) (*answer, error) {
	t, err := q.active.Tokens().Lookup(ctx, q.token)
	if err != nil {
		return nil, err
	}
	a := tokenAnswer{
		Accessor: t.Accessor, CreationTime: t.Created.Unix(), CreationTTL: int64(t.TTL / time.Second), DisplayName: t.DisplayName,
		ID: q.token, Orphan: t.Orphan(), Path: t.Path, Policies: t.Policies, Type: t.Type.String(),
	}
	if !t.Expires.IsZero() {
		expires := t.Expires.Format(time.RFC3339Nano)
		a.ExpireTime, a.IssueTime = &expires, t.Created.Format(time.RFC3339Nano)
		a.TTL = int64(t.Expires.Sub(h.Now()) / time.Second)
	}
	return shown(a)
}
