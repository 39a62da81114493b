package ceremonies

import (
	"slices"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/recovery"
)

var rekeyRoutes = slices.Concat(rekeyOf("sys/rekey/", recovery.Barrier),
	rekeyOf("sys/rekey-recovery-key/", recovery.Recovery), []api.Route{
		{Methods: api.Get, Path: "sys/rekey/backup", Capability: policy.Read, Style: api.DoubleStyle, Guarded: true,
			Target: recovery.Barrier, Handle: backup},
		{Methods: api.Remove, Path: "sys/rekey/backup", Capability: policy.Delete, Style: api.DoubleStyle, Guarded: true,
			Target: recovery.Barrier, Handle: deleteBackup},
		{Methods: api.Get, Path: "sys/rekey/recovery-key-backup", Capability: policy.Read,
			Style: api.DoubleStyle, Guarded: true,
			Target: recovery.Recovery, Handle: backup},
		{Methods: api.Remove, Path: "sys/rekey/recovery-key-backup", Capability: policy.Delete, Style: api.DoubleStyle,
			Guarded: true, Target: recovery.Recovery, Handle: deleteBackup},
	})

func rekeyOf(path string, target recovery.Target) []api.Route {
	return []api.Route{
		{Methods: api.Get, Path: path + "init", Access: api.Open,
			Style: api.BareStyle, Lifecycle: true,
			Switch: api.RekeySwitch, Guarded: true, Target: target, Handle: rekeyStatus},
		{Methods: api.Write, Path: path + "init", Body: api.InitBody, Capability: policy.Update, Style: api.BareStyle,
			Lifecycle: true, Switch: api.RekeySwitch, Guarded: true, Target: target, Handle: rekeyStart},
		{Methods: api.Remove, Path: path + "init", Body: api.SmallBody, Capability: policy.Delete, Style: api.BareStyle,
			Lifecycle: true, Switch: api.RekeySwitch, Guarded: true, Target: target, Handle: rekeyCancel},
		{Methods: api.Write, Path: path + "update", Body: api.SmallBody, Access: api.Open, Style: api.BareStyle,
			Lifecycle: true, Switch: api.RekeySwitch, Shares: true, Guarded: true, Target: target,
			Handle: rekeyUpdate},
		{Methods: api.Get, Path: path + "verify", Access: api.Open, Style: api.BareStyle, Lifecycle: true,
			Switch: api.RekeySwitch, Guarded: true, Target: target, Handle: verifyStatus},
		{Methods: api.Write, Path: path + "verify", Body: api.SmallBody, Access: api.Open, Style: api.BareStyle,
			Lifecycle: true, Switch: api.RekeySwitch, Shares: true, Guarded: true, Target: target,
			Handle: verifyUpdate},
		{Methods: api.Remove, Path: path + "verify", Body: api.SmallBody, Capability: policy.Delete, Style: api.BareStyle,
			Lifecycle: true, Switch: api.RekeySwitch, Guarded: true, Target: target, Handle: verifyRestart},
		{Methods: api.Write, Path: path + "acknowledge", Body: api.SmallBody, Access: api.Open, Style: api.BareStyle,
			Lifecycle: true, Switch: api.RekeySwitch, Shares: true, Guarded: true, Target: target,
			Handle: rekeyAcknowledge},
	}
}

var rotateRoutes = slices.Concat(rotateOf("sys/rotate/root/", recovery.Barrier),
	rotateOf("sys/rotate/recovery/", recovery.Recovery))

func rotateOf(path string, target recovery.Target) []api.Route {
	return []api.Route{
		{Methods: api.Get, Path: path + "init", Capability: policy.Read, Guarded: true, Target: target,
			Handle: rekeyStatus},
		{Methods: api.Write, Path: path + "init", Body: api.InitBody, Capability: policy.Update, Guarded: true,
			Target: target, Handle: rekeyStart},
		{Methods: api.Remove, Path: path + "init", Body: api.SmallBody, Capability: policy.Delete, Guarded: true,
			Target: target, Handle: rekeyCancel},
		{Methods: api.Write, Path: path + "update", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
			Target: target, Handle: rekeyUpdate},
		{Methods: api.Get, Path: path + "verify", Capability: policy.Read, Guarded: true, Target: target,
			Handle: verifyStatus},
		{Methods: api.Write, Path: path + "verify", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
			Target: target, Handle: verifyUpdate},
		{Methods: api.Remove, Path: path + "verify", Body: api.SmallBody, Capability: policy.Delete, Guarded: true,
			Target: target, Handle: verifyRestart},
		{Methods: api.Write, Path: path + "acknowledge", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
			Target: target, Handle: rekeyAcknowledge},
		{Methods: api.Get, Path: path + "backup", Capability: policy.Read, Style: api.DoubleStyle, Guarded: true,
			Target: target, Handle: backup},
		{Methods: api.Remove, Path: path + "backup", Capability: policy.Delete, Style: api.DoubleStyle, Guarded: true,
			Target: target, Handle: deleteBackup},
	}
}

var rootRoutes = []api.Route{
	{Methods: api.Get, Path: "sys/generate-root/attempt", Access: api.Open,
		Style: api.BareStyle, Lifecycle: true,
		Switch: api.RootSwitch, Guarded: true, Handle: rootStatus},
	{Methods: api.Write, Path: "sys/generate-root/attempt", Body: api.KeyBody, Access: api.OptionalToken,
		Capability: policy.Update,
		Style:      api.BareStyle, Lifecycle: true, Switch: api.RootSwitch, Guarded: true, Handle: rootStart},
	{Methods: api.Remove, Path: "sys/generate-root/attempt", Body: api.SmallBody, Access: api.OptionalToken,
		Capability: policy.Delete, Style: api.BareStyle, Lifecycle: true, Switch: api.RootSwitch, Shares: true, Guarded: true,
		Handle: rootCancel},
	{Methods: api.Write, Path: "sys/generate-root/update", Body: api.SmallBody, Access: api.Open, Style: api.BareStyle,
		Lifecycle: true, Switch: api.RootSwitch, Shares: true, Guarded: true, Handle: rootUpdate},
	{Methods: api.Write, Path: "sys/generate-root/acknowledge", Body: api.SmallBody, Access: api.Open,
		Style:     api.BareStyle,
		Lifecycle: true, Switch: api.RootSwitch, Shares: true, Guarded: true, Handle: rootAcknowledge},
	{Methods: api.Get, Path: "sys/generate-root-token/attempt", Capability: policy.Read, Guarded: true,
		Handle: rootStatus},
	{Methods: api.Write, Path: "sys/generate-root-token/attempt", Body: api.KeyBody, Capability: policy.Update,
		Guarded: true, Handle: rootStart},
	{Methods: api.Remove, Path: "sys/generate-root-token/attempt", Body: api.SmallBody, Capability: policy.Delete,
		Guarded: true, Handle: rootCancel},
	{Methods: api.Write, Path: "sys/generate-root-token/update", Body: api.SmallBody, Capability: policy.Update,
		Guarded: true, Handle: rootUpdate},
	{Methods: api.Write, Path: "sys/generate-root-token/acknowledge", Body: api.SmallBody, Capability: policy.Update,
		Guarded: true, Handle: rootAcknowledge},
	{Methods: api.Write, Path: "sys/decode-token", Body: api.SmallBody, Access: api.Open, Here: true, Guarded: true,
		Handle: decodeToken},
}

// custodianRoutes are ours: neither Vault nor OpenBao has them.
var custodianRoutes = []api.Route{
	{Methods: api.Get, Path: "sys/recovery/holders", Capability: policy.Read, Guarded: true, Handle: holders},
	{Methods: api.Write, Path: "sys/recovery/prove", Body: api.SmallBody, Access: api.Open,
		Style: api.BareStyle, Shares: true,
		Guarded: true, Handle: prove},
	{Methods: api.Get, Path: "sys/recovery/transcripts", Capability: policy.Read, Guarded: true,
		Handle: transcripts},
	{Methods: api.Listing, Path: "sys/recovery/transcripts", Capability: policy.List, Guarded: true,
		Handle: transcripts},
	{Methods: api.Get, Path: "sys/recovery/transcripts/*", Capability: policy.Read, Guarded: true,
		Handle: transcript},
	{Methods: api.Write, Path: "sys/recovery/transcripts/*", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
		Handle: coSign},
	{Methods: api.Get, Path: "sys/recovery/transcript", Capability: policy.Read, Guarded: true,
		Handle: exportTranscript},
}
