//go:build !no_gcpckms

package devicetypes

import (
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/keys/device/gcpckms"
)

var newGCPCKMS = func(getenv func(string) string) device.Driver { return gcpckms.Driver{Getenv: getenv} }
