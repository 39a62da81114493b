//go:build no_azurekeyvault

package devicetypes

import "github.com/sealgate/sealgate/internal/keys/device"

var newAzureKeyVault func(func(string) string) device.Driver
