package api

import (
	"context"
	"net/http"
	"time"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
)

var (
	errMissingToken  = fault.New(fault.Invalid, "missing token ID")
	errTokenNotFound = fault.New(fault.Invalid, "token not found")
)

// named finds the token that the body names; absent is what an unknown one is answered with.
func (q *request) named(ctx context.Context, absent error) (token.Identity, string, error) {
	var text string
	if err := q.param("token", &text); err != nil {
		return token.Identity{}, "", err
	}
	if text == "" {
		return token.Identity{}, "", errMissingToken
	}
	who, err := q.state.Tokens().Identify(ctx, text)
	if fault.Is(err, fault.Denied) {
		err = absent
	}
	return who, text, err
}

func (h *handler) renewToken(ctx context.Context, q *request) (*answer, error) {
	who, text, err := q.named(ctx, errTokenNotFound)
	if err != nil {
		return nil, err
	}
	return h.renew(ctx, q, who, text)
}

func (h *handler) renewSelf(ctx context.Context, q *request) (*answer, error) {
	return h.renew(ctx, q, q.identity, q.token)
}

func (h *handler) renewAccessor(ctx context.Context, q *request) (*answer, error) {
	who, err := q.byAccessor(ctx)
	if err != nil {
		return nil, err
	}
	return h.renew(ctx, q, who, "")
}

func (h *handler) renew(ctx context.Context, q *request, who token.Identity, text string) (*answer, error) {
	data, err := q.object()
	if err != nil {
		return nil, err
	}
	var increment time.Duration
	if err := field.Map(data).Duration("increment", &increment); err != nil {
		return nil, err
	}
	now, warnings, err := q.state.Tokens().Renew(ctx, who, increment)
	if err != nil {
		return nil, err
	}
	return h.granted(now.Token(), text, warnings), nil
}

// revokeToken ends a token; one that is unknown has ended already.
func (h *handler) revokeToken(ctx context.Context, q *request) (*answer, error) {
	who, _, err := q.named(ctx, nil)
	if err != nil || who.Token() == nil {
		return nil, err
	}
	return nil, q.state.Tokens().End(ctx, who)
}

func (h *handler) revokeSelf(ctx context.Context, q *request) (*answer, error) {
	return nil, q.state.Tokens().End(ctx, q.identity)
}

func (h *handler) revokeAccessor(ctx context.Context, q *request) (*answer, error) {
	who, err := q.byAccessor(ctx)
	switch {
	case fault.Is(err, fault.Invalid) && err != errMissingAccessor:
		return &answer{warnings: []string{"No token found with this accessor"}}, nil
	case err != nil:
		return nil, err
	}
	return nil, q.state.Tokens().End(ctx, who)
}

// revokeOrphan ends a token alone.
func (h *handler) revokeOrphan(ctx context.Context, q *request) (*answer, error) {
	who, _, err := q.named(ctx, fault.New(fault.Invalid, "token to revoke not found"))
	if err != nil {
		return nil, err
	}
	sudo, err := q.state.Tokens().HasSudo(ctx, q.identity, q.path)
	if err != nil {
		return nil, err
	}
	if !sudo {
		return nil, fault.New(fault.Invalid, "root or sudo privileges required to revoke and orphan")
	}
	return nil, q.state.Tokens().Release(ctx, who)
}

func (h *handler) tidyTokens(_ context.Context, q *request) (*answer, error) {
	q.state.Tokens().Tidy()
	return &answer{status: http.StatusAccepted, warnings: []string{
		"Tidy operation successfully started. Any information from the operation will be printed to the server's log."}}, nil
}
