//go:build !no_pkcs11

package devicetypes

import (
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/keys/device/pkcs11"
)

var newPKCS11 = func(getenv func(string) string) device.Driver { return pkcs11.Driver{Getenv: getenv} }
