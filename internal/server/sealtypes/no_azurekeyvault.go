//go:build no_azurekeyvault

package sealtypes

var newAzureKeyVault = leftOut("azurekeyvault")
