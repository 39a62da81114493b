//go:build !no_ocikms

package sealtypes

import (
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/ocikms"
)

var newOCIKMS seals.Factory = ocikms.New
