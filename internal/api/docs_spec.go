package api

var specDocs = map[string]doc{
	"sys/internal/specs/openapi": {Text: "This document."},
	"sys/replication/status":     {Text: "Not there: nothing is replicated."},
}
