//go:build !no_kmip

package sealtypes

import (
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/kmip"
)

var newKMIP seals.Factory = kmip.New

// CreateKMIPKey makes a key for a seal of the type kmip: see kmip.CreateKey.
var CreateKMIPKey = kmip.CreateKey
