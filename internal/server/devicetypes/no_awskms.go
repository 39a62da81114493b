//go:build no_awskms

package devicetypes

import "github.com/sealgate/sealgate/internal/keys/device"

var newAWSKMS func(func(string) string) device.Driver
