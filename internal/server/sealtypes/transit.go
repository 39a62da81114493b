//go:build !no_transit

package sealtypes

import (
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/transit"
)

var newTransit seals.Factory = transit.New
