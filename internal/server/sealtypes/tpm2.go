//go:build !no_tpm2

package sealtypes

import (
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/tpm2"
)

var newTPM2 seals.Factory = tpm2.New
