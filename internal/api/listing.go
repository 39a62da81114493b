package api

import (
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
)

// Policies may bound lists: pagination_limit, and list_scan_response_keys_filter_path.

func (q *Request) lists() bool { return q.Op == mount.List || q.Op == mount.Scan }

// boundList applies the policy's limit: it is the limit of a request without one, and a larger one
// is refused.
func (q *Request) boundList() error {
	most := q.Identity.Grant().Limit()
	if most == 0 || !q.lists() {
		return nil
	}
	given := q.Query.Get("limit")
	if given == "" {
		query := url.Values{}
		// showList leaves in a list what the policy shows: the names on whose paths the token has a
		// capability, up to its limit.
		maps.Copy(query, q.Query)
		query.Set("limit", strconv.Itoa(most))
		q.Query = query
		return nil
	}
	if n, err := strconv.Atoi(given); err == nil && (n <= 0 || n > most) {
		return fault.New(fault.Denied, "1 error occurred:\n\t* permission denied\n\n")
	}
	return nil
}

// mayTouch reports whether the token has any capability on a path; on a folder, on or below it.
func (q *Request) showList(ctx context.Context, a *Answer) (*Answer, error) {
	g := q.Identity.Grant()
	if a == nil || !q.lists() || g.Limit() == 0 && !g.Filters() {
		return a, nil
	}
	raw, err := json.Marshal(a.Data)
	if err != nil {
		return nil, err
	}
	var list struct {
		Info map[string]json.RawMessage `json:"key_info,omitempty"`
		Keys []string                   `json:"keys"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	var shown []string
	for _, name := range list.Keys {
		if most := g.Limit(); most > 0 && len(shown) == most {
			break
		}
		ok := true
		if g.Filters() {
			if ok, err = q.mayTouch(ctx, g.PathOf(q.Path, name)); err != nil {
				return nil, err
			}
		}
		if ok {
			shown = append(shown, name)
		}
	}
	if len(shown) == 0 {
		return nil, nil
	}
	for name := range list.Info {
		if !slices.Contains(shown, name) {
			delete(list.Info, name)
		}
	}
	list.Keys = shown
	b := *a
	b.Data = list
	return &b, nil
}

// mayTouch reports whether the token may do anything on a path; of a folder, on or below it.
func (q *Request) mayTouch(ctx context.Context, path string) (bool, error) {
	c, err := q.Role.Tokens().Capabilities(ctx, q.Identity, path)
	if err != nil || c != 0 || !strings.HasSuffix(path, "/") {
		return c&^policy.Deny != 0, err
	}
	return q.Role.Tokens().AllowsBelow(ctx, q.Identity, path)
}
