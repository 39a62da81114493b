package policies

import (
	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/api/authn"
)

var policyFields = []api.DocField{
	{"policy", "string", "The policy, in HCL or JSON, or in base64."}, {"rules", "string", "Another name of policy."},
	{"ttl", "duration", "How long the policy is there."}, {"expiration", "string", "When it goes (RFC 3339)."},
	{"cas", "integer", "The version that it must have now; -1: it must not be there."},
	{"cas_required", "boolean", "Whether writes must give cas."},
}

var pathFields = []api.DocField{{"path", "list", "Paths."}, {"paths", "list", "Paths."}}

var ListFields = []api.DocField{{"after", "string", "Names behind this one."},
	{"limit", "integer", "At most so many names."}}

var policyDocs = map[string]api.Doc{

	"sys/policy":                  {Text: "Lists the policies.", Query: ListFields},
	"sys/policy/*":                {Text: "A policy.", Param: "name", Body: policyFields},
	"sys/policies/acl":            {Text: "Lists the policies.", Query: ListFields},
	"sys/policies/acl/*":          {Text: "A policy.", Param: "name", Body: policyFields},
	"sys/policies/detailed/acl":   {Text: "Lists the policies with their versions."},
	"sys/policies/detailed/acl/*": {Text: "A policy with its version.", Param: "name"},
	"sys/policies/password":       {Text: "Lists the password policies.", Query: ListFields},
	"sys/policies/password/*": {Text: "A password policy; <name>/generate makes a password by it.", Param: "name",
		Body: []api.DocField{
			{"policy", "string", "length, and rules \"charset\" with charset and min-chars, in HCL or JSON, or that in base64."},
		}},
	"sys/capabilities": {Text: "What a token may do on paths.", Read: true,
		Body: append([]api.DocField{authn.TokenField}, pathFields...)},
	"sys/capabilities-self": {Text: "What the token itself may do on paths.", Read: true,
		Body: append([]api.DocField{authn.TokenField}, pathFields...)},
	"sys/capabilities-accessor": {Text: "What a token may do on paths, by its accessor.", Read: true,
		Body: append([]api.DocField{authn.AccessorField}, pathFields...)},
	"sys/internal/ui/resultant-acl": {Text: "Everything that the token may do."},
}
