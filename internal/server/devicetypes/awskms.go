//go:build !no_awskms

package devicetypes

import (
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/keys/device/awskms"
)

var newAWSKMS = func(getenv func(string) string) device.Driver { return awskms.Driver{Getenv: getenv} }
