//go:build !no_gcpckms

package sealtypes

import (
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/gcpckms"
)

var newGCPCKMS seals.Factory = gcpckms.New
