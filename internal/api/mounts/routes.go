package mounts

import (
	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
)

// mountRoutes are for the table of secrets engines.
var mountRoutes = []api.Route{
	{Methods: api.Get, Path: "sys/mounts", Capability: policy.Read, Style: api.DoubleStyle, Here: true,
		Handle: listMounts},
	{Methods: api.Get, Path: "sys/mounts/*", Folder: true, Capability: policy.Read, Style: api.DoubleStyle, Here: true,
		Handle: showMount},
	{Methods: api.Write, Path: "sys/mounts/*", Folder: true, Body: api.SmallBody, Capability: policy.Update,
		Style:  api.DoubleStyle,
		Handle: enableMount},
	{Methods: api.Remove, Path: "sys/mounts/*", Folder: true, Capability: policy.Delete, Style: api.DoubleStyle,
		Handle: disableMount},
	{Methods: api.Write, Path: "sys/remount", Body: api.SmallBody, Capability: policy.Update, Sudo: true,
		Style:  api.DoubleStyle,
		Handle: remount},
	{Methods: api.Get, Path: "sys/remount/status/*", Fold: true, Capability: policy.Read, Handle: remountStatus},
	{Methods: api.Get, Path: "sys/unmounted", Capability: policy.Read, Handle: listUnmounted},
	{Methods: api.Get, Path: "sys/internal/ui/mounts", Access: api.Open, Here: true, Handle: visibleMounts},
	{Methods: api.Get, Path: "sys/internal/ui/mounts/*", Folder: true, Access: api.Open, Here: true, Handle: preflight},
}
