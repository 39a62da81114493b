//go:build !no_transit

package devicetypes

import (
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/keys/device/transit"
)

var newTransit = func(func(string) string) device.Driver { return transit.Driver{} }
