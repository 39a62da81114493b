package authn

import (
	"context"
	"net/http"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
)

var (
	errMissingToken  = fault.New(fault.Invalid, "missing token ID")
	errTokenNotFound = fault.New(fault.Invalid, "token not found")
)

// named finds the token that the body names; absent is the error for an unknown one.
func named(ctx context.Context, q *api.Request, absent error) (token.Identity, string, error) {
	var text string
	if err := q.Param("token", &text); err != nil {
		return token.Identity{}, "", err
	}
	if text == "" {
		return token.Identity{}, "", errMissingToken
	}
	who, err := q.Role.Tokens().Identify(ctx, text)
	if fault.Is(err, fault.Denied) {
		err = absent
	}
	return who, text, err
}

func renewToken(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	who, text, err := named(ctx, q, errTokenNotFound)
	if err != nil {
		return nil, err
	}
	return renew(ctx, h, q, who, text)
}

func renewSelf(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	return renew(ctx, h, q, q.Identity, q.Token)
}

func renewAccessor(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	who, err := ByAccessor(ctx, q)
	if err != nil {
		return nil, err
	}
	return renew(ctx, h, q, who, "")
}

func renew(ctx context.Context, h *api.Handler, q *api.Request, who token.Identity, text string) (*api.Answer, error) {
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	var increment time.Duration
	if err := field.Map(data).Duration("increment", &increment); err != nil {
		return nil, err
	}
	now, warnings, err := q.Role.Tokens().Renew(ctx, who, increment)
	if err != nil {
		return nil, err
	}
	return granted(h, now.Token(), text, warnings), nil
}

// revokeToken revokes a token; an unknown one is revoked already.
func revokeToken(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	who, _, err := named(ctx, q, nil)
	if err != nil || who.Token() == nil {
		return nil, err
	}
	return nil, q.Role.Tokens().End(ctx, who)
}

func revokeSelf(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	return nil, q.Role.Tokens().End(ctx, q.Identity)
}

func revokeAccessor(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	who, err := ByAccessor(ctx, q)
	switch {
	case fault.Is(err, fault.Invalid) && err != errMissingAccessor:
		return &api.Answer{Warnings: []string{"No token found with this accessor"}}, nil
	case err != nil:
		return nil, err
	}
	return nil, q.Role.Tokens().End(ctx, who)
}

// revokeOrphan revokes a token, and keeps its children.
func revokeOrphan(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	who, _, err := named(ctx, q, fault.New(fault.Invalid, "token to revoke not found"))
	if err != nil {
		return nil, err
	}
	sudo, err := q.Role.Tokens().HasSudo(ctx, q.Identity, q.Path)
	if err != nil {
		return nil, err
	}
	if !sudo {
		return nil, fault.New(fault.Invalid, "root or sudo privileges required to revoke and orphan")
	}
	return nil, q.Role.Tokens().Release(ctx, who)
}

func tidyTokens(_ context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	q.Role.Tokens().Tidy()
	return &api.Answer{Status: http.StatusAccepted, Warnings: []string{
		"Tidy operation successfully started. Any information from the operation will be printed to the server's log."}}, nil
}
