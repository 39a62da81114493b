package server

import (
	transitengine "github.com/sealgate/sealgate/internal/engine/transit"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/server/devicetypes"
)

// deviceEngines are the secrets engines whose keys can be in devices.
var deviceEngines = map[string]func(*device.Registry) mount.Factory{
	"transit": func(r *device.Registry) mount.Factory {
		return transitengine.Factory(transitengine.Options{Devices: r})
	},
}

// newDevices makes the hub of the devices that the configuration allows.
func (p *instance) newDevices() *device.Hub {
	o := device.Options{Drivers: devicetypes.Drivers(p.getenv), Metrics: p.shared.Metrics,
		Log: p.hub.Logger("device")}
	for _, l := range p.cfg.Libraries {
		o.Libraries = append(o.Libraries, device.Library{Type: l.Type, Name: l.Name, Path: l.Path, Params: l.Params})
	}
	return device.NewHub(o)
}
