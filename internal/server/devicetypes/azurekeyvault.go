//go:build !no_azurekeyvault

package devicetypes

import (
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/keys/device/azurekeyvault"
)

var newAzureKeyVault = func(getenv func(string) string) device.Driver { return azurekeyvault.Driver{Getenv: getenv} }
