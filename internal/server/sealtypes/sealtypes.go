// Package sealtypes lists the seal types of the program.
//
// A provider is left out of the program, together with its SDK, by the build tag no_TYPE, such as
// `go build -tags no_alicloudkms,no_ocikms ./cmd/sealgate`. A seal stanza of that type then fails
// with an error that says so. The types shamir and static are always included.
package sealtypes

import (
	"fmt"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/shamir"
	"github.com/sealgate/sealgate/seals/static"
)

// Factories returns the constructors of all seal types, by type.
func Factories() map[string]seals.Factory {
	return map[string]seals.Factory{
		"alicloudkms":   newAliCloudKMS,
		"awskms":        newAWSKMS,
		"azurekeyvault": newAzureKeyVault,
		"gcpckms":       newGCPCKMS,
		"kmip":          newKMIP,
		"ocikms":        newOCIKMS,
		"pkcs11":        newPKCS11,
		"shamir":        shamir.New,
		"static":        static.New,
		"tpm2":          newTPM2,
		"transit":       newTransit,
	}
}

// leftOut returns the constructor of a seal type that is not in the program.
func leftOut(sealType string) seals.Factory {
	return func(c seals.Config) (wrapping.Wrapper, error) {
		return nil, seals.Fail(seals.Misconfigured,
			fmt.Errorf("seal %q %q: this program was built without this seal type (-tags no_%[1]s)", sealType, c.Name),
			"use a build that includes it, or another seal")
	}
}
