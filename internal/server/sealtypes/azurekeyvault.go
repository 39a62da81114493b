//go:build !no_azurekeyvault

package sealtypes

import (
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/azurekeyvault"
)

var newAzureKeyVault seals.Factory = azurekeyvault.New
