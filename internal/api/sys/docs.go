package sys

import (
	"github.com/sealgate/sealgate/internal/api"
)

var rotationFields = []api.DocField{
	{"enabled", "boolean", "Whether it is rotated automatically."}, {"interval", "duration", "At this age; 0: at none."},
	{"max_operations", "integer", "After so many encryptions."},
	{"max_bytes", "integer", "When so many bytes are stored under it; 0: no limit."},
}

var rotateFields = []api.DocField{
	{"rewrap", "boolean", "Encrypt all data again by it."},
	{"retire", "boolean", "Then destroy the older terms."},
	{"compromised", "boolean", "Others may have the old keys: replace the root key too, rewrap, and retire."},
	{"rate", "integer", "Most entries per second of the rewrap; 0: as many as foreground requests allow."},
}

var lifecycleDocs = map[string]api.Doc{
	"sys/init": {Text: "Shows whether the server is initialised; initialises it.", Read: true, Body: []api.DocField{
		{"secret_shares", "integer", "Unseal shares, where shares unseal the server."},
		{"secret_threshold", "integer", "Those that are needed."},
		{"recovery_shares", "integer", "Recovery shares, where a seal unseals it."},
		{"recovery_threshold", "integer", "Those that are needed."},
		{"stored_shares", "integer", "Accepted from older clients."}, {"pgp_keys", "list", "A public key for each share."},
		{"recovery_pgp_keys", "list", "A public key for each recovery share."},
		{"root_token_pgp_key", "string", "A public key for the root token."},
		{"holders", "list", "The name of each share's holder."},
	}},
	"sys/seal-status": {Text: "Shows whether the server is sealed, and the state of its seals."},
	"sys/seal-backend-status": {Text: "Shows of each seal whether it would unseal the server, the state of its key, and " +
		"which versions of it are needed."},
	"sys/unseal": {Text: "Takes one share towards unsealing.", Read: true, Body: []api.DocField{
		{"key", "string", "One share, in hex or base64."}, {"reset", "boolean", "Forget the shares given so far."},
		{"migrate", "boolean", "The shares are for a seal that is being migrated."},
	}},
	"sys/seal":      {Text: "Seals the server.", Empty: true},
	"sys/step-down": {Text: "Gives up leadership of a cluster.", Empty: true},
	"sys/health": {Text: "Shows the state of the server by its status.", Query: []api.DocField{
		{"standbyok", "boolean", "A standby answers as an active node."},
		{"perfstandbyok", "boolean", "Accepted; there are none."},
		{"activecode", "integer", "The status of an active node."}, {"standbycode", "integer", "That of a standby."},
		{"sealedcode", "integer", "That of a sealed node."},
		{"uninitcode", "integer", "That of a node that is not initialised."},
	}},
	"sys/leader":         {Text: "Shows the leader."},
	"sys/key-status":     {Text: "Shows the barrier key's term, age and use, and what is stored under each term."},
	"sys/rotate":         {Text: "Makes a new barrier key.", Body: rotateFields},
	"sys/rotate/keyring": {Text: "Makes a new barrier key.", Body: rotateFields},
	"sys/rotate/root":    {Text: "Makes a new root key.", Empty: true},
	"sys/rotate/config": {Text: "When the barrier key is rotated automatically.",
		Body: rotationFields, Empty: true},
	"sys/rotate/keyring/config": {Text: "When the barrier key is rotated automatically.",
		Body: rotationFields, Empty: true},
	"sys/sealwrap/rewrap": {Text: "Seals the root key again by the newest version of every seal's " +
		"key.", Empty: true},
	"sys/ha-status": {Text: "Lists the nodes of the cluster."},
	"sys/storage/raft/snapshot": {Text: "GET sends everything in storage as one file, encrypted as it is " +
		"stored; POST replaces everything by such a file."},
	"sys/storage/raft/snapshot-force": {Text: "The same for a snapshot of another cluster."},
	"sys/storage/raft/snapshot-init": {Text: "Fills the storage of a server that is not initialised with a snapshot. " +
		"Like sys/init it needs no token."},
	"sys/storage/raft/configuration":           {Text: "Not supported: no storage of this server is raft."},
	"sys/storage/raft/join":                    {Text: "Not supported: no storage of this server is raft."},
	"sys/storage/raft/remove-peer":             {Text: "Not supported: no storage of this server is raft."},
	"sys/storage/raft/autopilot/state":         {Text: "Not supported: no storage of this server is raft."},
	"sys/storage/raft/autopilot/configuration": {Text: "Not supported: no storage of this server is raft."},
}
