package clients

import "slices"

// NoSuchType is a key type that no server has. Sent with a text to encrypt, it keeps the server
// from making a missing key, and an existing key ignores it.
const NoSuchType = "sealgate-doctor-makes-no-key"

const (
	letterA = "YQ=="
	// digest is the SHA-256 sum of "sealgate doctor".
	digest = "zI3mZU6QVQ6NQKOJAt9xylciDZzsR5vHfLW2LHkhK6k="
)

var (
	encrypt = Step{About: "encrypt", Method: "PUT", Path: "<mount>/encrypt/<key>", Needs: []string{"update"},
		Body: map[string]any{"plaintext": letterA, "type": NoSuchType}, Keep: []string{"ciphertext"}}
	decrypt = Step{About: "decrypt", Method: "PUT", Path: "<mount>/decrypt/<key>", Needs: []string{"update"},
		Body: map[string]any{"ciphertext": "<ciphertext>"}}
	dataKey = Step{About: "make a data key", Method: "PUT", Path: "<mount>/datakey/plaintext/<key>",
		Needs: []string{"update"}, Body: map[string]any{"bits": 256}, Keep: []string{"ciphertext"}}
	readKey = Step{About: "read the key", Method: "GET", Path: "<mount>/keys/<key>", Needs: []string{"read"}}
	makeKey = Step{About: "make the key", Method: "PUT", Path: "<mount>/keys/<key>", Needs: []string{"create", "update"},
		Changes: true, Optional: "to make the key, once"}
	sign = Step{About: "sign a digest", Method: "PUT", Path: "<mount>/sign/<key>/sha2-256", Needs: []string{"update"},
		Body: map[string]any{"input": digest, "prehashed": true, "key_version": "0", "signature_algorithm": "pkcs1v15"},
		Keep: []string{"signature"}}
	verify = Step{About: "verify a signature", Method: "PUT", Path: "<mount>/verify/<key>/sha2-256",
		Needs: []string{"update"},
		Body: map[string]any{"input": digest, "prehashed": true, "signature": "<signature>",
			"signature_algorithm": "pkcs1v15"}}
	rewrap = Step{About: "rewrap", Method: "PUT", Path: "<mount>/rewrap/<key>", Needs: []string{"update"},
		Body: map[string]any{"ciphertext": "<ciphertext>"}}

	lookupSelf = Step{About: "look its token up", Method: "GET", Path: "auth/token/lookup-self", Needs: []string{"read"}}
	renewSelf  = Step{About: "renew its token", Method: "PUT", Path: "auth/token/renew-self", Needs: []string{"update"},
		Changes: true}

	readMount = Step{About: "find the version of the kv engine", Method: "GET", Path: "sys/mounts/<mount>",
		Needs: []string{"read"}}
	readUIMount = Step{About: "find the version of the kv engine", Method: "GET",
		Path: "sys/internal/ui/mounts/<mount>", Needs: []string{"read"}}
	readSecret = Step{About: "read a secret", Method: "GET", Path: "<mount>/data/<key>", Needs: []string{"read"}}
	putSecret  = Step{About: "write a secret", Method: "PUT", Path: "<mount>/data/<key>",
		Needs: []string{"create", "update"}, Changes: true}
	deleteSecret = Step{About: "delete a secret", Method: "DELETE", Path: "<mount>/metadata/<key>",
		Needs: []string{"delete"}, Changes: true}
	readMetadata = Step{About: "read a secret's metadata", Method: "GET", Path: "<mount>/metadata/<key>",
		Needs: []string{"read"}}
	listSecrets = Step{About: "list secrets", Method: "LIST", Path: "<mount>/metadata", Needs: []string{"list"}}
)

// with returns the step with its probe's body extended.
func (s Step) with(field string, value any) Step {
	body := map[string]any{field: value}
	for k, v := range s.Body {
		if _, ok := body[k]; !ok {
			body[k] = v
		}
	}
	s.Body = body
	return s
}

// optional returns the step as one that the client needs only for something.
func (s Step) optional(what string) Step {
	s.Optional = what
	return s
}

var sealSteps = []Step{encrypt, decrypt, renewSelf}

func transit(name, about, note string, steps ...Step) Client {
	return Client{Name: name, About: about, Mount: "transit", Key: name, Steps: steps, Note: note}
}

func kv(name, about, note string, steps ...Step) Client {
	return Client{Name: name, About: about, Mount: "secret", Key: name, Steps: steps, Note: note}
}

var table = []Client{
	transit("ceph-sse-kms", "Ceph RGW, SSE-KMS with crypt_s3_vault_secret_engine = transit",
		"The key is derived: make it with derived=true.",
		dataKey.with("context", letterA), decrypt.with("context", letterA)),
	transit("ceph-sse-s3", "Ceph RGW, SSE-S3: it makes and deletes a key per bucket",
		"RGW takes an answer to keys/<name>/config that is not empty for a failure: mount the engine with "+
			"options={\"empty_config_answer\":\"true\"}.",
		Step{About: "make a bucket's key", Method: "PUT", Path: "<mount>/keys/<key>", Needs: []string{"create", "update"},
			Changes: true},
		Step{About: "allow its deletion", Method: "PUT", Path: "<mount>/keys/<key>/config", Needs: []string{"update"},
			Changes: true},
		Step{About: "delete a bucket's key", Method: "DELETE", Path: "<mount>/keys/<key>", Needs: []string{"delete"},
			Changes: true},
		dataKey.with("context", letterA), decrypt.with("context", letterA)),
	transit("cosign", "cosign and sigstore, hashivault:// and openbao://",
		"The key is of type ecdsa-p256, ed25519 or rsa-*.", readKey, sign, verify, makeKey),
	kv("external-secrets", "External Secrets Operator, kv version 2", "", lookupSelf, readSecret, readMetadata,
		listSecrets.optional("to find secrets by name"), putSecret.optional("for PushSecret")),
	transit("hvac", "hvac (Python), the calls of an application", "", encrypt, decrypt, rewrap, dataKey, lookupSelf),
	transit("kes", "MinIO KES, encryption by transit",
		"KES insists on ciphertexts of version 1: do not rotate the key <mount>/keys/<key>.", encrypt, decrypt, renewSelf),
	kv("kes-kv", "MinIO KES, keys in kv version 2", "", readSecret, putSecret, deleteSecret, listSecrets, renewSelf),
	transit("kubernetes", "KMS plugins of the Kubernetes API server that speak to Vault", "", encrypt, decrypt, readKey,
		lookupSelf, renewSelf),
	kv("mariadb", "MariaDB hashicorp_key_management, kv version 2", "<key> is the number of an encryption key.",
		readMount, readSecret),
	transit("openbao", "OpenBao, seal \"transit\"", "", sealSteps...),
	transit("opentofu", "OpenTofu state encryption, key provider openbao", "",
		dataKey.with("associated_data", letterA), decrypt.with("associated_data", letterA)),
	kv("percona", "Percona Server keyring_vault and pg_tde, kv version 2", "The token is never renewed by keyring_vault.",
		readMount, readSecret, putSecret, deleteSecret.optional("to remove keys"), listSecrets),
	kv("rook", "Rook and ceph-csi, kv version 2", "", readUIMount, readSecret, putSecret, deleteSecret, lookupSelf),
	transit("sealgate", "Sealgate, seal \"transit\"", "", slices.Concat(sealSteps, []Step{readKey})...),
	transit("sops", "SOPS, hc_vault_transit", "", encrypt, decrypt),
	transit("spring", "Spring Vault, VaultTransitOperations", "", encrypt, decrypt, rewrap, readKey,
		lookupSelf, renewSelf),
	transit("tink", "Tink, hcvault://", "", encrypt, decrypt),
	transit("vault", "Vault, seal \"transit\"", "", sealSteps...),
	{Name: "vault-agent", About: "Vault Agent and OpenBao Agent with a token: auto-auth, sink and templates",
		Mount: "secret", Key: "vault-agent", Steps: []Step{lookupSelf, renewSelf,
			readUIMount.optional("for templates that read kv"), readSecret.optional("for templates that read kv")}},
}
