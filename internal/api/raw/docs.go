package raw

import (
	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/api/policies"
)

var encodeFields = []api.DocField{{"encoding", "string", "base64 for entries that are no text."}}

var rawDocs = map[string]api.Doc{
	"sys/raw": {Text: "Lists entries behind the barrier.", Query: policies.ListFields},
	"sys/raw/*": {Text: "Entries behind the barrier.", Query: encodeFields, Empty: true, Body: []api.DocField{
		{"value", "string", "The entry."}, {"encoding", "string", "base64, where value is."},
		{"compression_type", "string", "none"}, {"compressed", "boolean", ""},
	}},
}
