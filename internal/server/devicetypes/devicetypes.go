// Package devicetypes lists the types of devices and services whose keys mounts can use.
//
// A type is left out of the program by the build tag that leaves out the seal of that type:
// no_TYPE.
package devicetypes

import "github.com/sealgate/sealgate/internal/keys/device"

// Drivers returns the drivers of the program, by type.
func Drivers(getenv func(string) string) map[string]device.Driver {
	all := map[string]device.Driver{}
	for kind, driver := range map[string]func(func(string) string) device.Driver{
		"awskms": newAWSKMS, "azurekeyvault": newAzureKeyVault, "gcpckms": newGCPCKMS, "pkcs11": newPKCS11,
		"transit": newTransit,
	} {
		if driver != nil {
			all[kind] = driver(getenv)
		}
	}
	return all
}
