package openapi

import (
	"github.com/sealgate/sealgate/internal/api"
)

var specDocs = map[string]api.Doc{
	"sys/internal/specs/openapi": {Text: "This document."},
	"sys/replication/status":     {Text: "Not supported: nothing is replicated."},
}
