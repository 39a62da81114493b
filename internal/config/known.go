package config

import "strings"

// foreign is a key that Vault or OpenBao has and this program does not use.
type foreign struct {
	text     string
	refuse   bool   // ignoring it would weaken protection or do something else than asked for
	warn     bool   // accepted, with a warning at start-up
	standard string // with refuse and warn: the value without effect; "" if there is none
}

// isDefault reports whether the value has no effect.
func (k foreign) isDefault(v value) bool {
	if k.standard == "" || v.kind == isList || v.kind == isObject {
		return false
	}
	text := strings.ToLower(v.text)
	switch text {
	case "1":
		text = "true"
	case "0", "":
		text = "false"
	}
	return text == k.standard
}

func lookup(tables []map[string]foreign, key string) (foreign, bool) {
	for _, t := range tables {
		if k, ok := t[key]; ok {
			return k, true
		}
	}
	return foreign{}, false
}

const (
	noPlugins  = "has no effect: there are no external plugins"
	noCache    = "has no effect: there is no such cache or standby"
	enterprise = "has no effect: it is about another product's licence or reporting"
)

// foreignTop are top-level keys, each with the reason why it is accepted, or what to do instead.
var foreignTop = map[string]foreign{
	"plugin":                   {text: noPlugins},
	"plugin_directory":         {text: noPlugins},
	"plugin_tmpdir":            {text: noPlugins},
	"plugin_file_uid":          {text: noPlugins},
	"plugin_file_permissions":  {text: noPlugins},
	"plugin_auto_download":     {text: noPlugins},
	"plugin_auto_register":     {text: noPlugins},
	"plugin_download_behavior": {text: noPlugins},
	"plugin_download_max_size": {text: noPlugins},

	"disable_cache":               {text: noCache},
	"cache_size":                  {text: noCache},
	"disable_performance_standby": {text: noCache},
	"disable_standby_reads":       {text: noCache},
	"disable_indexing":            {text: noCache},
	"disable_sealwrap": {text: "has no effect: the barrier encrypts every entry, and the seals protect its " +
		"root key"},
	"disable_printable_check": {text: "has no effect: names are always checked"},
	"disable_sentinel_trace":  {text: enterprise},

	"enable_response_header_raft_node_id": {text: "has no effect: there is no Raft here"},
	"introspection_endpoint":              {text: "has no effect: sys/internal/inspect is not served"},
	"detect_deadlocks":                    {text: "has no effect: it is for debugging another program"},
	"imprecise_lease_role_tracking":       {text: "has no effect: roles have no leases"},
	"unsafe_cross_namespace_identity":     {text: "has no effect: there is one namespace"},
	"allow_unauthenticated_workflows":     {text: "has no effect: there are no workflows"},
	"unsafe_relative_paths":               {text: "has no effect: relative paths in requests are always refused"},
	"enable_multiseal":                    {text: "has no effect: multiple seals are always possible, see seal_policy"},
	"cluster_cipher_suites":               {text: "has no effect: nodes use TLS 1.3 among themselves"},

	"license_path":                      {text: enterprise},
	"license":                           {text: enterprise},
	"reporting":                         {text: enterprise},
	"replication":                       {text: enterprise},
	"experiments":                       {text: enterprise},
	"enable_post_unseal_trace":          {text: "has no effect: it is for debugging another program"},
	"post_unseal_trace_directory":       {text: "has no effect: it is for debugging another program"},
	"administrative_namespace_path":     {text: enterprise},
	"default_role_based_rate_limit":     {text: enterprise},
	"allow_unverified_seal_plugin_info": {text: noPlugins},

	"initialize": {refuse: true, text: "initialise with `operator init`, which prints the recovery shares"},
	"ha_storage": {refuse: true, text: "one storage serves both data and leader election: remove this stanza"},
	"ha_backend": {refuse: true, text: "one storage serves both data and leader election: remove this stanza"},
	"entropy":    {refuse: true, text: "random numbers come from the operating system: remove the stanza"},
}

// foreignListener are the keys of a listener.
var foreignListener = map[string]foreign{
	"require_request_header":               {text: "has no effect: only agents enforce it"},
	"disable_replication_status_endpoints": {text: "has no effect: there is no replication"},
	"tls_prefer_server_cipher_suites":      {text: "has no effect: Go chooses the order"},
	"agent_api":                            {text: "has no effect: it is for an agent's listener"},
	"proxy_api":                            {text: "has no effect: it is for a proxy's listener"},
	"max_json_depth":                       {text: "has no effect: nesting is always bounded"},
	"max_json_string_value_length":         {text: "has no effect: max_request_size bounds it"},
	"max_json_object_entry_count":          {text: "has no effect: max_request_json_strings bounds it"},
	"max_json_array_element_count":         {text: "has no effect: max_request_json_memory bounds it"},

	"redact_addresses": {refuse: true, standard: "false",
		text: "addresses are not redacted; remove it, or bind the listener to an address that only operators reach"},
	"redact_cluster_name": {refuse: true, standard: "false",
		text: "the cluster's name is not redacted; remove it, or bind the listener to an address that only operators reach"},
	"redact_version": {refuse: true, standard: "false",
		text: "the version is not redacted; remove it, or bind the listener to an address that only operators reach"},
	"chroot_namespace": {refuse: true,
		text: "there are no namespaces, so that this listener would serve everything; remove it"},
	"tls_acme_ca_directory":           {refuse: true, text: acme},
	"tls_acme_ca_root":                {refuse: true, text: acme},
	"tls_acme_cache_path":             {refuse: true, text: acme},
	"tls_acme_domains":                {refuse: true, text: acme},
	"tls_acme_email":                  {refuse: true, text: acme},
	"tls_acme_eab_key_id":             {refuse: true, text: acme},
	"tls_acme_eab_mac_key":            {refuse: true, text: acme},
	"tls_acme_key_type":               {refuse: true, text: acme},
	"tls_acme_disable_http_challenge": {refuse: true, text: acme},
	"tls_acme_disable_alpn_challenge": {refuse: true, text: acme},
}

const acme = "there is no ACME client; let one write tls_cert_file and tls_key_file, and send SIGHUP"

// foreignStorage are keys of other servers' storage stanzas.
var foreignStorage = map[string]foreign{
	"max_value_size":       {text: "has no effect: the store has its own limit of 1 MiB for each commit"},
	"disable_transactions": {refuse: true, standard: "false", text: "every change is a transaction; remove it"},
	"disable_clustering":   {text: "has no effect here: set it at the top level"},
}

// otherStorage is what to use instead of other servers' storage types.
var otherStorage = map[string]string{
	"raft":     `use "bbolt" (embedded, one node), or "etcd" or "postgresql" for a cluster`,
	"postgres": `it is called "postgresql"`,
	"inmem_ha": `use "inmem": it keeps nothing beyond the process either`,
	"consul":   `use "etcd" or "postgresql" for a cluster, or "bbolt" (embedded, one node)`,
}

// sealParams are the parameters of each provider, by Vault's and OpenBao's names and this program's
// own.
var sealParams = map[string]string{
	"shamir": "",
	"static": "current_key current_key_id previous_key previous_key_id",
	"pkcs11": "lib module slot token_label token token_serial pin pin_final_try key_label label key_id hmac_key_label " +
		"accept_unauthenticated require_nonextractable isolation network allow_paths " +
		"hmac_key_id" +
		" hmac_mechanism mechanism generate_key rsa_oaep_hash rsa_encrypt_local disable_software_encryption " +
		"max_parallel timeout" +
		" default_key_label default_hmac_key_label force_rw_session",
	"transit": "address token mount_path key_name disable_renewal namespace key_id_prefix" +
		" tls_ca_cert tls_ca_path tls_client_cert tls_client_key tls_server_name tls_skip_verify timeout",
	"awskms": "kms_key_id region endpoint access_key secret_key session_token shared_creds_filename shared_creds_profile" +
		" web_identity_token_file role_session_name role_arn key_not_required key_id sts_endpoint use_fips_endpoint " +
		"use_dual_stack_endpoint" +
		" disallow_env_vars timeout",
	"gcpckms": "project region key_ring crypto_key credentials user_agent key_not_required endpoint tls_ca_cert timeout " +
		"disable_env_vars",
	"azurekeyvault": "vault_name key_name tenant_id client_id client_secret environment resource auth_method cert_path" +
		" cert_password managed_id_kind resource_id key_not_required endpoint authority_host federated_token_file " +
		"tls_ca_cert timeout",
	"kmip":        "kms_key_id endpoint ca_cert client_cert client_key server_name timeout encrypt_alg tls12_ciphers",
	"tpm2":        "device pcrs pin pin_final_try key_label timeout",
	"ocikms":      "key_id crypto_endpoint management_endpoint auth_type_api_key timeout",
	"alicloudkms": "kms_key_id region domain access_key access_secret secret_key timeout",
}
