package api

import (
	"errors"

	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
)

// What rekey, verification and generate-root have in common: somebody starts, holders give shares with a nonce, and
// the texts of refusals differ between the paths of Vault and those of OpenBao.

// legacy reports whether the request came by the paths that every Vault has: bare bodies, decoded strictly.
func (q *request) legacy() bool { return q.route.Style == bareStyle }

// starter is who asks, for the record.
func (q *request) starter() ceremony.Starter {
	return ceremony.Starter{Accessor: q.identity.Accessor, DisplayName: q.identity.DisplayName}
}

type shareBody struct {
	Key   string `json:"key"`
	Nonce string `json:"nonce"`
}

// readShareBody decodes the body, as strictly as the path's kind does.
func (q *request) readShareBody() (b shareBody, err error) {
	if q.legacy() {
		err = q.strict(&b)
		return b, err
	}
	data, err := q.object()
	if err != nil {
		return b, err
	}
	f := field.Map(data)
	return b, errors.Join(f.Text("key", &b.Key), f.Text("nonce", &b.Nonce))
}

// missing are the words for a body without a key, or without a nonce, by the paths where each step needs a token.
type missing struct{ key, nonce string }

var (
	missingInRotation = missing{"missing required field 'key'", "missing required field 'nonce'"}
	missingInRoot     = missing{"key is required", "nonce is required"}
)

// givenShare reads the share and the nonce. Whoever calls it destroys the share.
func (q *request) givenShare(m missing) (nonce string, share *secret.Bytes, err error) {
	b, err := q.readShareBody()
	switch {
	case err != nil:
		return "", nil, err
	case b.Key == "" && q.legacy():
		return "", nil, fault.New(fault.Invalid, "'key' must be specified in request body as JSON")
	case b.Key == "":
		return "", nil, fault.New(fault.Invalid, "%s", m.key)
	case b.Nonce == "" && !q.legacy():
		return "", nil, fault.New(fault.Invalid, "%s", m.nonce)
	}
	if share, err = recovery.ParseShare(b.Key); err != nil {
		return "", nil, fault.Wrap(err, fault.Invalid, "%v", err)
	}
	return b.Nonce, share, nil
}

// reworded is a refusal with another text; its cause stays.
func reworded(err error, text string) error {
	var client *fault.Error
	if !errors.As(err, &client) || client.Kind != fault.Invalid || client.Message == text {
		return err
	}
	return &fault.Error{Kind: client.Kind, Message: text, Cause: client.Cause}
}
