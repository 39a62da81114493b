package server

import (
	"context"
	"encoding/json"
	"time"

	"github.com/sealgate/sealgate/internal/audit"
	transitengine "github.com/sealgate/sealgate/internal/engine/transit"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/server/devicetypes"
	"github.com/sealgate/sealgate/internal/uuid"
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
		Log: p.hub.Logger("device"), Leased: p.recordLease}
	for _, l := range p.cfg.Libraries {
		o.Libraries = append(o.Libraries, device.Library{Type: l.Type, Name: l.Name, Path: l.Path, Params: l.Params})
	}
	return device.NewHub(o)
}

// recordLease writes an audit entry of its own for a rooted key that is about to be held in memory:
// a renewal belongs to no request. The lease does not begin where no device can record it.
func (p *instance) recordLease(_ context.Context, l device.Lease) error {
	id, err := uuid.New(nil)
	if err != nil {
		return err
	}
	data, err := json.Marshal(map[string]any{"mount": l.Mount, "root_key": l.Root, "key": l.Key,
		"until": l.Until.UTC().Format(time.RFC3339), "max_uses": l.Uses})
	if err != nil {
		return err
	}
	return p.trail.Begin(&audit.Request{ID: id, Operation: "update", Path: "sys/device-keys/lease", Data: data,
		Plain: []string{"mount", "root_key", "key", "until"}}, nil).Request("")
}
