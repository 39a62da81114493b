package api

var encodeFields = []docField{{"encoding", "string", "base64 for entries that are no text."}}

var rawDocs = map[string]doc{
	"sys/raw": {Text: "Lists entries behind the barrier.", Query: listFields},
	"sys/raw/*": {Text: "Entries behind the barrier.", Query: encodeFields, Empty: true, Body: []docField{
		{"value", "string", "The entry."}, {"encoding", "string", "base64, where value is."}, {"compression_type", "string", "none"}, {"compressed", "boolean", ""},
	}},
}
