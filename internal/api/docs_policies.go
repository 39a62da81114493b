package api

var policyFields = []docField{
	{"policy", "string", "The policy, in HCL or JSON, or in base64."}, {"rules", "string", "Another name of policy."},
	{"ttl", "duration", "How long the policy is there."}, {"expiration", "string", "When it goes (RFC 3339)."},
	{"cas", "integer", "The version that it must have now; -1: it must not be there."},
	{"cas_required", "boolean", "Whether writes must give cas."},
}

var pathFields = []docField{{"path", "list", "Paths."}, {"paths", "list", "Paths."}}

var listFields = []docField{{"after", "string", "Names behind this one."}, {"limit", "integer", "At most so many names."}}

var policyDocs = map[string]doc{

	"sys/policy":                  {Text: "Lists the policies.", Query: listFields},
	"sys/policy/*":                {Text: "A policy.", Param: "name", Body: policyFields},
	"sys/policies/acl":            {Text: "Lists the policies.", Query: listFields},
	"sys/policies/acl/*":          {Text: "A policy.", Param: "name", Body: policyFields},
	"sys/policies/detailed/acl":   {Text: "Lists the policies with their versions."},
	"sys/policies/detailed/acl/*": {Text: "A policy with its version.", Param: "name"},
	"sys/policies/password":       {Text: "Lists the password policies.", Query: listFields},
	"sys/policies/password/*": {Text: "A password policy; <name>/generate makes a password by it.", Param: "name", Body: []docField{
		{"policy", "string", "length, and rules \"charset\" with charset and min-chars, in HCL or JSON, or that in base64."},
	}},
	"sys/capabilities":              {Text: "What a token may do on paths.", Read: true, Body: append([]docField{tokenField}, pathFields...)},
	"sys/capabilities-self":         {Text: "What the token itself may do on paths.", Read: true, Body: append([]docField{tokenField}, pathFields...)},
	"sys/capabilities-accessor":     {Text: "What a token may do on paths, by its accessor.", Read: true, Body: append([]docField{accessorField}, pathFields...)},
	"sys/internal/ui/resultant-acl": {Text: "All that the token may do."},
}
