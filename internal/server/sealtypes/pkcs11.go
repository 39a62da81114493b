//go:build !no_pkcs11

package sealtypes

import (
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/pkcs11"
)

var newPKCS11 seals.Factory = pkcs11.New
