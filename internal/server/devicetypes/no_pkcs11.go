//go:build no_pkcs11

package devicetypes

import "github.com/sealgate/sealgate/internal/keys/device"

var newPKCS11 func(func(string) string) device.Driver
