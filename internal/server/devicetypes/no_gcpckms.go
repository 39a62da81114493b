//go:build no_gcpckms

package devicetypes

import "github.com/sealgate/sealgate/internal/keys/device"

var newGCPCKMS func(func(string) string) device.Driver
