//go:build no_transit

package devicetypes

import "github.com/sealgate/sealgate/internal/keys/device"

var newTransit func(func(string) string) device.Driver
