package authn

import (
	"github.com/sealgate/sealgate/internal/api"
)

// Fields of tokens and roles.
var (
	tokenFields = []api.DocField{
		{"id", "string", "The token's text; with the root policy alone."},
		{"role_name", "string", "Accepted from older clients."},
		{"policies", "list", "Its policies; without it, the parent's."}, {"meta", "object", "Texts to be kept with it."},
		{"metadata", "object", "Another name of meta."}, {"no_parent", "boolean", "It has no parent; needs sudo."},
		{"no_default_policy", "boolean", "It does not get the policy default."},
		{"renewable", "boolean", "Whether it can be renewed."},
		{"ttl", "duration", "How long it lives."}, {"lease", "duration", "Another name of ttl."},
		{"type", "string", "service or batch."},
		{"explicit_max_ttl", "duration", "How long it can live, however often it is renewed."},
		{"display_name", "string", "For display."},
		{"num_uses", "integer", "For so many requests; 0: any number."},
		{"period", "duration", "Each renewal makes it live so long; needs sudo."},
		{"entity_alias", "string", "Of a role."},
	}
	roleFields = []api.DocField{
		{"allowed_policies", "list", "Policies that its tokens may have."},
		{"disallowed_policies", "list", "Policies that they must not have."},
		{"allowed_policies_glob", "list", "The same, with *."}, {"disallowed_policies_glob", "list", "The same, with *."},
		{"orphan", "boolean", "Its tokens have no parent."}, {"path_suffix", "string", "Of its tokens' path."},
		{"renewable", "boolean", "Whether they can be renewed."}, {"period", "duration", "Of its tokens."},
		{"explicit_max_ttl", "duration", "Of its tokens."}, {"token_period", "duration", "Of its tokens."},
		{"token_explicit_max_ttl", "duration", "Of its tokens."}, {"token_no_default_policy", "boolean",
			"They do not get the policy default."},
		{"token_type", "string", "service, batch, or default-service and default-batch."},
		{"token_num_uses", "integer", "Of its tokens."},
		{"token_bound_cidrs", "list", "Networks from which they may be used."},
		{"bound_cidrs", "list", "Another name of that."},
		{"allowed_entity_aliases", "list", "Aliases that they may have."}, {"token_strictly_bind_ip", "boolean", "Accepted."},
	}
	TokenField    = api.DocField{"token", "string", "The token."}
	AccessorField = api.DocField{"accessor", "string", "The token's accessor."}
	increment     = api.DocField{"increment", "duration", "How long it is to live from now on."}
)

// tokenDocs describe the routes of tokens.
var tokenDocs = map[string]api.Doc{
	"auth/token/create":        {Text: "Makes a token, a child of the one that asks.", Read: true, Body: tokenFields},
	"auth/token/create-orphan": {Text: "Makes a token without a parent.", Read: true, Body: tokenFields},
	"auth/token/create/*":      {Text: "Makes a token by a role.", Param: "role_name", Read: true, Body: tokenFields},
	"auth/token/lookup": {Text: "Shows a token.", Read: true, Body: []api.DocField{TokenField},
		Query: []api.DocField{TokenField}},
	"auth/token/lookup-self": {Text: "Shows the token of the request.", Read: true, Body: []api.DocField{TokenField}},
	"auth/token/lookup-accessor": {Text: "Shows a token by its accessor.", Read: true,
		Body: []api.DocField{AccessorField}},
	"auth/token/renew": {Text: "Renews a token.", Read: true, Body: []api.DocField{TokenField, increment}},
	"auth/token/renew-self": {Text: "Renews the token itself.", Read: true,
		Body: []api.DocField{TokenField, increment}},
	"auth/token/renew-accessor": {Text: "Renews a token by its accessor.", Read: true,
		Body: []api.DocField{AccessorField, increment}},
	"auth/token/revoke":      {Text: "Revokes a token and its children.", Body: []api.DocField{TokenField}},
	"auth/token/revoke-self": {Text: "Revokes the token itself and its children.", Body: []api.DocField{TokenField}},
	"auth/token/revoke-accessor": {Text: "Revokes a token and its children by its accessor.",
		Body: []api.DocField{AccessorField}},
	"auth/token/revoke-orphan": {Text: "Revokes a token, and keeps its children.", Body: []api.DocField{TokenField}},
	"auth/token/accessors":     {Text: "Lists the accessors of all tokens."},
	"auth/token/tidy":          {Text: "Cleans up what is left of tokens.", Later: true},
	"auth/token/roles":         {Text: "Lists the roles of tokens."},
	"auth/token/roles/*":       {Text: "A role of tokens.", Param: "role_name", Body: roleFields},
}
