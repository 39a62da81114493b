package e2e

import (
	"io"
	"net/url"
	"strings"

	vault "github.com/hashicorp/vault/api"
)

const inRecoveryMode = "recovery mode alone has it: tests of internal/api make the call there"

// sdkLocal are calls that are made elsewhere, or that reach no server.
var sdkLocal = map[string]string{
	"Logical.ParseRawResponseAndCloseBody": "reaches no server",
	"Logical.ReadFromSnapshot": "Vault Enterprise has loaded snapshots; elsewhere the " +
		"parameter is ignored",
	"Logical.ReadRawFromSnapshot":                    "as ReadFromSnapshot",
	"Logical.ListFromSnapshot":                       "as ReadFromSnapshot",
	"Logical.Recover":                                "as ReadFromSnapshot; without data nothing is written",
	"Logical.RecoverFromPath":                        "as Recover",
	"Sys.GenerateRecoveryOperationTokenInit":         inRecoveryMode,
	"Sys.GenerateRecoveryOperationTokenStatus":       inRecoveryMode,
	"Sys.GenerateRecoveryOperationTokenUpdate":       inRecoveryMode,
	"Sys.GenerateRecoveryOperationTokenCancel":       inRecoveryMode,
	"Sys.RekeyCancelWithContextWithNonce":            "the same as RekeyCancelWithNonce",
	"Sys.RekeyRecoveryKeyCancelWithContextWithNonce": "the same as RekeyRecoveryKeyCancelWithNonce",
}

// sdkShamirRows covers the calls under a Shamir seal.
var sdkShamirRows = sdkRows(
	[]sdkRow{
		{call: "Sys.InitStatus", want: ".=false"},
		{call: "Sys.Health", want: "initialized=false sealed=true"},
		{call: "Sys.Init", args: []any{object{"secret_shares": 3, "secret_threshold": 2}},
			keep: "k0=keys.0 k1=keys_base64.1 k2=keys.2 troot=root_token"},
		{call: "Sys.Unseal", args: []any{"$k0"}, want: "sealed=true progress=1"},
		{call: "Sys.ResetUnsealProcess", want: "progress=0"},
		{call: "Sys.Unseal", args: []any{"$k0"}},
		{call: "Sys.UnsealWithOptions", args: []any{object{"key": "$k1"}}, want: "sealed=false"},
		{call: "Client.SetToken", args: []any{"$troot"}},
		{call: "Sys.SealStatus", want: "type=shamir sealed=false t=2 n=3"},
		{call: "Sys.Leader", want: "ha_enabled=false"},
		{call: "Sys.StepDown"},
		{call: "Sys.KeyStatus", want: "term=1"},
		{call: "Sys.Rotate"},
		{call: "Sys.RotateKeyring"},
		{call: "Sys.RotateRoot"},
	},
	sdkRekeyRows("Sys.Rekey", "Sys.RekeyRetrieveBackup", "Sys.RekeyDeleteBackup"),
	sdkRekeyRows("Sys.RotateRoot", "Sys.RotateRootRetrieveBackup", "Sys.RotateRootDeleteBackup"),
	[]sdkRow{
		{call: "Sys.GenerateRootInit", args: []any{"", ""}, keep: "nonce=nonce otp=otp"},
		{call: "Sys.GenerateRootStatus", want: "started=true required=2"},
		{call: "Sys.GenerateRootCancel"},
		{call: "Sys.GenerateRootInit", args: []any{"", "$pgp"}, keep: "nonce=nonce"},
		{call: "Sys.GenerateRootUpdate", args: []any{"$k0", "$nonce"}, want: "progress=1"},
		{call: "Sys.GenerateRootUpdate", args: []any{"$k2", "$nonce"}, want: "complete=true"},
		{call: "Sys.Seal"},
		{call: "Sys.SealStatus", want: "sealed=true"},
		{call: "Sys.ListMounts", refused: "Vault is sealed"},
	},
)

// sdkRekeyRows is a rekey with its verification, and one with a backup, by the calls of one face.
func sdkRekeyRows(calls, backup, deleteBackup string) []sdkRow {
	return []sdkRow{
		{call: calls + "Status", want: "started=false"},
		{call: calls + "Init", args: []any{object{"secret_shares": 1, "secret_threshold": 1, "pgp_keys": []any{"$pgp"},
			"backup": true, "require_verification": true}}, keep: "nonce=nonce"},
		{call: calls + "Update", args: []any{"$k0", "$nonce"}},
		{call: calls + "Update", args: []any{"$k2", "$nonce"}, want: "complete=true"},
		{call: backup, want: "nonce=$nonce"},
		{call: deleteBackup},
		{call: backup, refused: "no backed-up keys found"},
		{call: calls + "Cancel"}, // Vault's for recovery shares cancels the barrier's rekey
		{call: calls + "CancelWithNonce", args: []any{"$nonce"}},
		{call: calls + "Init", args: []any{object{"secret_shares": 3, "secret_threshold": 2, "require_verification": true}},
			keep: "nonce=nonce"},
		{call: calls + "Update", args: []any{"$k0", "$nonce"}},
		{call: calls + "Update", args: []any{"$k2", "$nonce"},
			keep: "k0=keys.0 k1=keys.1 k2=keys_base64.2 nverify=verification_nonce"},
		{call: calls + "VerificationStatus", want: "nonce=$nverify n=3 progress=0"},
		{call: calls + "VerificationUpdate", args: []any{"$k1", "$nverify"}},
		{call: calls + "VerificationCancel"},
		{call: calls + "VerificationStatus", want: "progress=0", keep: "nverify=nonce"},
		{call: calls + "VerificationUpdate", args: []any{"$k0", "$nverify"}},
		{call: calls + "VerificationUpdate", args: []any{"$k2", "$nverify"}, want: "complete=true"},
		{call: calls + "Status", want: "started=false"},
	}
}

// sdkMachineRows is the life of a server that unseals itself, and all that is done with one.
var sdkMachineRows = sdkRows(
	[]sdkRow{
		{call: "Sys.Init", args: []any{object{"recovery_shares": 3, "recovery_threshold": 2}},
			keep: "k0=recovery_keys.0 k1=recovery_keys.1 k2=recovery_keys_base64.2 troot=root_token"},
		{call: "Client.SetToken", args: []any{"$troot"}},
		{call: "Sys.SealStatus", want: "type=static sealed=false recovery_seal=true"},
	},
	sdkRekeyRows("Sys.RekeyRecoveryKey", "Sys.RekeyRetrieveRecoveryBackup", "Sys.RekeyDeleteRecoveryBackup"),
	sdkRekeyRows("Sys.RotateRecovery", "Sys.RotateRecoveryRetrieveBackup", "Sys.RotateRecoveryDeleteBackup"),
	sdkPolicyRows, sdkMountRows, sdkTokenRows, sdkLogicalRows, sdkOperateRows, sdkAbsentRows,
)

const sdkRules = `path "kv/*" { capabilities = ["read"] }`

var sdkPolicyRows = []sdkRow{
	{call: "Sys.PutPolicy", args: []any{"reader", sdkRules}},
	{call: "Sys.ListPolicies", want: "0=default 1=reader 2=root"},
	{call: "Sys.PutPolicy", args: []any{"gone", sdkRules}},
	{call: "Sys.DeletePolicy", args: []any{"gone"}},
	{call: "Sys.GetPolicy", args: []any{"gone"}, want: ".="},
	{call: "Sys.GetPolicy", args: []any{"reader"}},
	{call: "Sys.Capabilities", args: []any{"$troot", "kv/a"}, want: "0=root"},
	{call: "Sys.CapabilitiesSelf", args: []any{"kv/a"}, want: "0=root"},
}

var sdkMountRows = []sdkRow{
	{call: "Sys.Mount", args: []any{"kv", object{"type": "kv", "description": "words"}}},
	{call: "Sys.Mount", args: []any{"old", object{"type": "kv", "options": object{"version": "2"}}}},
	{call: "Sys.ListMounts", want: "old/.type=kv old/.options.version=2"},
	{call: "Sys.GetMount", args: []any{"kv"}, want: "description=words"},
	{call: "Sys.MountInfo", args: []any{"kv"}, want: "description=words"},
	{call: "Sys.TuneMount", args: []any{"kv", object{"max_lease_ttl": "24h"}}},
	{call: "Sys.TuneMountAllowNil", args: []any{"kv", object{"max_lease_ttl": "12h"}}},
	{call: "Sys.MountConfig", args: []any{"kv"}, keep: "ttl=max_lease_ttl"},
	{call: "Sys.Remount", args: []any{"old", "new"}},
	{call: "Sys.StartRemount", args: []any{"new", "newer"}, keep: "id=migration_id"},
	{call: "Sys.RemountStatus", args: []any{"$id"}, want: "MigrationInfo.MigrationStatus=success"},
	{call: "Sys.Unmount", args: []any{"newer"}},
	{call: "Sys.EnableAuth", args: []any{"people", "userpass", ""}},
	{call: "Sys.EnableAuthWithOptions", args: []any{"machines", object{"type": "approle"}}},
	{call: "Sys.ListAuth", want: "people/.type=userpass machines/.type=approle"},
	{call: "Sys.GetAuth", args: []any{"people"}, want: "type=userpass"},
	{call: "Sys.DisableAuth", args: []any{"machines"}},
	{call: "Sys.EnableAudit", args: []any{"file", "file", "", object{"file_path": "$audit"}}},
	{call: "Sys.EnableAuditWithOptions",
		args: []any{"second", object{"type": "file", "options": object{"file_path": "stdout"}}}},
	{call: "Sys.DisableAudit", args: []any{"second"}},
	{call: "Sys.ListAudit", want: "file/.type=file"},
	{call: "Sys.AuditHash", args: []any{"file", "hunter2"}},
	{call: "Sys.DisableAudit", args: []any{"file"}},
}

var sdkTokenRows = []sdkRow{
	{call: "Token.Create", args: []any{object{"policies": []any{"reader"}, "ttl": "1h"}}, want: "auth.lease_duration=3600",
		keep: "token=auth.client_token accessor=auth.accessor"},
	{call: "Token.CreateOrphan", args: []any{object{"policies": []any{"reader"}}}, want: "auth.orphan=true",
		keep: "torphan=auth.client_token"},
	{call: "Logical.Write", args: []any{"auth/token/roles/ci", object{"period": "1h"}}},
	{call: "Token.CreateWithRole", args: []any{object{"policies": []any{"reader"}}, "ci"},
		want: "auth.lease_duration=3600", keep: "tci=auth.client_token"},
	{call: "Token.Lookup", args: []any{"$token"}, want: "data.path=auth/token/create"},
	{call: "Token.LookupAccessor", args: []any{"$accessor"}, want: "data.id="},
	{call: "Token.LookupSelf", want: "data.display_name=root"},
	{call: "Token.Renew", args: []any{"$token", 1800}, want: "auth.lease_duration=1800"},
	{call: "Token.RenewAccessor", args: []any{"$accessor", 600}, want: "auth.lease_duration=600"},
	{call: "Token.RenewTokenAsSelf", args: []any{"$token", 900}, want: "auth.lease_duration=900"},
	{call: "Token.RenewSelf", args: []any{60}, refused: "invalid lease ID"},
	{call: "Sys.CapabilitiesAccessor", args: []any{"$accessor", "kv/a"}, want: "0=read"},
	{call: "Token.RevokeAccessor", args: []any{"$accessor"}},
	{call: "Token.RevokeOrphan", args: []any{"$tci"}},
	{call: "Token.RevokeTree", args: []any{"$torphan"}},
	{call: "Token.Create", args: []any{object{"policies": []any{"reader"}}}, keep: "token=auth.client_token"},
	{call: "Client.SetToken", args: []any{"$token"}},
	{call: "Token.RevokeSelf", args: []any{""}},
	{call: "Token.LookupSelf", refused: "permission denied"},
	{call: "Client.SetToken", args: []any{"$troot"}},
}

var sdkLogicalRows = []sdkRow{
	{call: "Logical.Write", args: []any{"kv/a/b", object{"x": "1"}}},
	{call: "Logical.WriteBytes", args: []any{"kv/a/c", `{"x":"2"}`}},
	{call: "Logical.WriteRaw", args: []any{"kv/a/d", `{"x":"3"}`}},
	{call: "Logical.WriteWithRequest", args: []any{vault.NewLogicalWriteRequest("kv/a/e", object{"x": "4"}, nil)}},
	{call: "Logical.Read", args: []any{"kv/a/b"}, want: "data.x=1"},
	{call: "Logical.ReadWithData", args: []any{"kv/a/c", object{"q": []any{"1"}}}, want: "data.x=2"},
	{call: "Logical.ReadRaw", args: []any{"kv/a/b"}},
	{call: "Logical.ReadRawWithData", args: []any{"kv/a/b", nil}},
	{call: "Logical.ReadWithRequest", args: []any{vault.NewLogicalReadRequest("kv/a/b", nil, nil)}, want: "data.x=1"},
	{call: "Logical.List", args: []any{"kv/a"}, want: "data.keys.0=b"},
	{call: "Logical.ListPage", args: []any{"kv/a", "b", 1}, want: "data.keys.0=c"},
	{call: "Logical.Scan", args: []any{"kv"}, want: "data.keys.0=a/b"},
	{call: "Logical.ScanPage", args: []any{"kv", "a/b", 1}, want: "data.keys.0=a/c"},
	{call: "Logical.Delete", args: []any{"kv/a/b"}},
	{call: "Logical.DeleteWithData", args: []any{"kv/a/c", object{"q": []any{"1"}}}},
	{call: "Logical.DeleteRaw", args: []any{"kv/a/d"}},
	{call: "Logical.DeleteWithRequest", args: []any{vault.NewDeleteRequest("kv/a/e", nil, nil)}},
	{call: "Logical.Read", args: []any{"kv/a/b"}, want: ".=<nil>"},
	{call: "Sys.Mount", args: []any{"kv2", object{"type": "kv-v2"}}},
	{call: "Logical.Write", args: []any{"kv2/data/a", object{"data": object{"x": "1", "y": "2"}}}, want: "data.version=1"},
	{call: "Logical.JSONMergePatch", args: []any{"kv2/data/a", object{"data": object{"x": "9"}}}, want: "data.version=2"},
	{call: "Logical.PatchRaw", args: []any{"kv2/data/a", `{"data":{"y":null}}`}, refused: "PATCH requires Content-Type",
		absent: "it speaks of SCIM, " + onlyEnterprise},
	{call: "Logical.Read", args: []any{"kv2/data/a"}, want: "data.data.x=9"},
	{call: "Client.AddHeader", args: []any{"X-Vault-Wrap-TTL", "60s"}},
	{call: "Logical.Read", args: []any{"kv2/data/a"}, keep: "twrap=wrap_info.token"},
	{call: "Client.SetHeaders", args: []any{object{}}},
	{call: "Logical.Unwrap", args: []any{"$twrap"}, want: "data.data.x=9"},
	{call: "Logical.Unwrap", args: []any{"$twrap"}, refused: "wrapping token is not valid or does not exist"},
}

var sdkOperateRows = []sdkRow{
	{call: "Sys.HAStatus", want: "Nodes.0.active_node=true"},
	{call: "Sys.Monitor", args: []any{"info", "standard"}},
	{call: "Sys.CORSStatus", want: "enabled=false"},
	{call: "Sys.ConfigureCORS", args: []any{object{"allowed_origins": []any{"https://example.org"}, "enabled": true}}},
	{call: "Sys.CORSStatus", want: "enabled=true"},
	{call: "Sys.DisableCORS"},
	{call: "Sys.Lookup", args: []any{"auth/x"}, refused: "invalid lease"},
	{call: "Sys.Renew", args: []any{"auth/x", 60}, refused: "lease not found"},
	{call: "Sys.Revoke", args: []any{"auth/x"}},
	{call: "Sys.RevokeWithOptions", args: []any{object{"LeaseID": "auth/x", "Sync": true}}},
	{call: "Sys.RevokePrefix", args: []any{"auth/x"}},
	{call: "Sys.RevokeForce", args: []any{"auth/x"}},
	{call: "Sys.RaftSnapshot", args: []any{io.Discard}},
	{call: "Sys.RaftSnapshotRestore", args: []any{strings.NewReader("x"), false}, refused: "not a Sealgate snapshot"},
}

const (
	noRaft         = "no storage here is raft"
	noRaftText     = "raft storage is not in use"
	noNamespaces   = "there is the root namespace alone"
	noPlugins      = "there are no plugins: what is there is linked in"
	onlyEnterprise = "which Vault Enterprise has, and neither OpenBao nor this server"
	noPath         = "unsupported path"
	// nothing is for calls that take a path that is not there for one with nothing in it.
	nothing = "(nothing)"
)

var sdkAbsentRows = []sdkRow{
	{call: "Sys.RaftJoin", args: []any{object{"leader_api_addr": "https://127.0.0.1:1"}},
		refused: noRaftText, absent: noRaft},
	{call: "Sys.RaftAutopilotState", refused: noRaftText, absent: noRaft},
	{call: "Sys.RaftAutopilotConfiguration", refused: noRaftText, absent: noRaft},
	{call: "Sys.PutRaftAutopilotConfiguration", args: []any{object{}}, refused: noRaftText, absent: noRaft},
	{call: "Sys.RaftAutopilotStateWithDRToken", args: []any{"$troot"}, refused: noRaftText, absent: onlyEnterprise},
	{call: "Sys.RaftAutopilotConfigurationWithDRToken", args: []any{"$troot"}, refused: noRaftText,
		absent: onlyEnterprise},
	{call: "Sys.RaftLoadLocalSnapshot", args: []any{strings.NewReader("x")}, refused: noPath, absent: onlyEnterprise},
	{call: "Sys.RaftLoadCloudSnapshot", args: []any{"aws-s3", &url.URL{Scheme: "https", Host: "example.org"}},
		refused: noPath, absent: onlyEnterprise},
	{call: "Sys.RaftUnloadSnapshot", args: []any{"x"}, refused: noPath, absent: onlyEnterprise},
	{call: "Sys.RaftForceUnloadSnapshot", args: []any{"x"}, refused: noPath, absent: onlyEnterprise},
	{call: "Sys.ReplicationStatus", refused: noPath, absent: onlyEnterprise},
	{call: "Sys.ReplicationDRStatusWithContext", refused: noPath, absent: onlyEnterprise},
	{call: "Sys.ReplicationPerformanceStatusWithContext", refused: noPath, absent: onlyEnterprise},
	{call: "Sys.GenerateDROperationTokenStatus", refused: noPath, absent: onlyEnterprise},
	{call: "Sys.GenerateDROperationTokenInit", args: []any{"", ""}, refused: noPath, absent: onlyEnterprise},
	{call: "Sys.GenerateDROperationTokenUpdate", args: []any{"x", "y"}, refused: noPath, absent: onlyEnterprise},
	{call: "Sys.GenerateDROperationTokenCancel", refused: noPath, absent: onlyEnterprise},
	{call: "Sys.BillingOverview", args: []any{false}, refused: noPath, absent: onlyEnterprise},
	{call: "Sys.ReportingScan", args: []any{object{}}, refused: noPath, absent: onlyEnterprise},
	{call: "Sys.UtilizationReport", refused: noPath, absent: onlyEnterprise},
	{call: "Sys.UtilizationReportWithNamespace", args: []any{"team"}, refused: noPath, absent: onlyEnterprise},
	{call: "Sys.CreateUICustomMessage", args: []any{object{}}, refused: noPath, absent: onlyEnterprise},
	{call: "Sys.UpdateUICustomMessage", args: []any{"x", object{}}, refused: noPath, absent: onlyEnterprise},
	{call: "Sys.ReadUICustomMessage", args: []any{"x"}, refused: noPath, absent: onlyEnterprise},
	{call: "Sys.ListUICustomMessages", args: []any{object{}}, refused: noPath, absent: onlyEnterprise},
	{call: "Sys.DeleteUICustomMessage", args: []any{"x"}, refused: nothing, absent: onlyEnterprise},
	{call: "Sys.MFAValidate", args: []any{"x", object{}}, refused: noPath, absent: "there is no second factor at logins"},
	{call: "Sys.ListPlugins", args: []any{object{}}},
	{call: "Sys.GetPlugin", args: []any{object{"name": "kv", "type": 3}}},
	{call: "Sys.RegisterPlugin", args: []any{object{"name": "x", "type": 3}}, refused: "unsupported operation",
		absent: noPlugins},
	{call: "Sys.DeregisterPlugin", args: []any{object{"name": "x", "type": 3}}, refused: "unsupported operation",
		absent: noPlugins},
	{call: "Sys.ReloadPlugin", args: []any{object{"plugin": "x"}}, refused: noPath, absent: noPlugins},
	{call: "Sys.RootReloadPlugin", args: []any{object{"plugin": "x"}}, refused: noPath, absent: noPlugins},
	{call: "Sys.ReloadPluginStatus", args: []any{object{"reload_id": "x"}}, refused: noPath, absent: noPlugins},
	{call: "Sys.RegisterPluginDetailed", args: []any{object{"name": "x", "type": 3}}, refused: "unsupported operation",
		absent: noPlugins},
	{call: "Sys.GetPluginRuntime", args: []any{object{"name": "x"}}, refused: noPath, absent: noPlugins},
	{call: "Sys.ListPluginRuntimes", args: []any{object{"type": 1}}, refused: "data from server response is empty",
		absent: noPlugins},
	{call: "Sys.RegisterPluginRuntime", args: []any{object{"name": "x"}}, refused: noPath, absent: noPlugins},
	{call: "Sys.DeregisterPluginRuntime", args: []any{object{"name": "x"}}, refused: noPath, absent: noPlugins},
	{call: "Sys.CreateNamespace", args: []any{"team", object{}}, refused: noPath, absent: noNamespaces},
	{call: "Sys.ReadNamespace", args: []any{"team"}, refused: nothing, absent: noNamespaces},
	{call: "Sys.PatchNamespace", args: []any{"team", object{}}, refused: noPath, absent: noNamespaces},
	{call: "Sys.DeleteNamespace", args: []any{"team"}, refused: noPath, absent: noNamespaces},
	{call: "Sys.ListNamespaces", refused: nothing, absent: noNamespaces},
	{call: "Sys.NamespaceSealStatus", args: []any{"team"}, refused: nothing, absent: noNamespaces},
	{call: "Sys.SealNamespace", args: []any{"team"}, refused: noPath, absent: noNamespaces},
	{call: "Sys.UnsealNamespace", args: []any{object{"name": "team", "key": "x"}}, refused: noPath, absent: noNamespaces},
}

func sdkRows(parts ...[]sdkRow) (all []sdkRow) {
	for _, rows := range parts {
		all = append(all, rows...)
	}
	return all
}
