package ceremonies

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
)

// HandOut renders shares, or the messages that they are encrypted to, in the two forms that clients
// know, and destroys them.
func HandOut(shares []*secret.Bytes) (asHex, asBase64 []string) {
	asHex, asBase64 = []string{}, []string{}
	for _, s := range shares {
		asHex = append(asHex, hex.EncodeToString(s.Expose()))
		asBase64 = append(asBase64, base64.StdEncoding.EncodeToString(s.Expose()))
		s.Destroy()
	}
	return asHex, asBase64
}

// What rekey, verification and generate-root have in common: shares are given with a nonce, and the
// texts of refusals differ between the paths of Vault and those of OpenBao.

// legacy reports whether the request came by the paths that every Vault has: bare bodies, decoded
// strictly.
func legacy(q *api.Request) bool { return q.Route.Style == api.BareStyle }

// starter returns the client, for the record.
func starter(q *api.Request) ceremony.Starter {
	return ceremony.Starter{
		Accessor: q.Identity.Accessor, DisplayName: q.Identity.DisplayName, Root: q.Identity.Root,
	}
}

type shareBody struct {
	Key   string `json:"key"`
	Nonce string `json:"nonce"`
}

// readShareBody decodes the body as the path does.
func readShareBody(q *api.Request) (b shareBody, err error) {
	if legacy(q) {
		err = q.Strict(&b)
		return b, err
	}
	data, err := q.Object()
	if err != nil {
		return b, err
	}
	f := field.Map(data)
	return b, errors.Join(f.Text("key", &b.Key), f.Text("nonce", &b.Nonce))
}

// missing has the texts for a body without a key, or without a nonce, on paths where each step
// needs a token.
type missing struct{ key, nonce string }

var (
	missingInRotation = missing{"missing required field 'key'", "missing required field 'nonce'"}
	missingInRoot     = missing{"key is required", "nonce is required"}
)

// givenShare reads the share and the nonce. The caller destroys the share.
func givenShare(q *api.Request, m missing) (nonce string, share *secret.Bytes, err error) {
	b, err := readShareBody(q)
	switch {
	case err != nil:
		return "", nil, err
	case b.Key == "" && legacy(q):
		return "", nil, fault.New(fault.Invalid, "'key' must be specified in request body as JSON")
	case b.Key == "":
		return "", nil, fault.New(fault.Invalid, "%s", m.key)
	case b.Nonce == "" && !legacy(q):
		return "", nil, fault.New(fault.Invalid, "%s", m.nonce)
	}
	if share, err = recovery.ParseShare(b.Key); err != nil {
		return "", nil, fault.Wrap(err, fault.Invalid, "%v", err)
	}
	return b.Nonce, share, nil
}

// cancelShare reads the nonce, and the share of a client that cancels without a token, which may be
// absent. The caller destroys the share.
func cancelShare(q *api.Request) (nonce string, share *secret.Bytes, err error) {
	b, err := readShareBody(q)
	if err != nil || b.Key == "" {
		return b.Nonce, nil, err
	}
	if share, err = recovery.ParseShare(b.Key); err != nil {
		return "", nil, fault.Wrap(err, fault.Invalid, "%v", err)
	}
	return b.Nonce, share, nil
}

// showsHolders reports whether the client may see who has given a share: it has a token. The token
// is not part of the request, which needs none.
func showsHolders(ctx context.Context, q *api.Request) bool {
	if q.Identity.Token() != nil {
		return true
	}
	_, err := q.Bearer(ctx)
	q.Token = ""
	return err == nil
}
