package transit

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// row is a request whose answer was measured on OpenBao 2.7.2, by the number of its row, or one of
// the contract's section 6. The text is an error in full, or a regular expression for data. now is
// the status where it is another than OpenBao's.
type row struct {
	name, method, path, body string
	status                   int // OpenBao's
	text                     string
	now                      int
	warning                  string
}

func multi(text string) string { return "1 error occurred:\n\t* " + text + "\n\n" }

const (
	noContext = "missing 'context' for key derivation; the key was created using a derived key, which means " +
		"additional, per-request " +
		"information must be included in order to perform operations with the key"
	sealed = `^\{"ciphertext":"vault:v1:[A-Za-z0-9+/]+=*","key_version":1\}$`
	object = `"latest_version":`
)

var noPath = multi("unsupported path")

// tableKeys are made before the rows run.
var tableKeys = [][2]string{
	{"n", ""},
	{"derived", `{"derived":true}`},
	{"conv", `{"derived":true,"convergent_encryption":true}`},
	{"exp", `{"exportable":true,"allow_plaintext_backup":true}`},
	{"ed", `{"type":"ed25519"}`},
	{"edd", `{"type":"ed25519","derived":true}`},
	{"p256", `{"type":"ecdsa-p256","exportable":true}`},
	{"p384", `{"type":"ecdsa-p384"}`},
	{"rsa", `{"type":"rsa-2048"}`},
	{"mac", `{"type":"hmac","key_size":32,"exportable":true}`},
	{"cmac", `{"type":"aes256-cmac"}`},
	{"pq", `{"type":"ml-dsa","parameter_set":"44"}`},
	{"two", ""},
	{"old", ""},
}

func tableRows(e *engine) []row {
	c := e.get("ciphertext", "POST", "encrypt/n", `{"plaintext":"YQ=="}`)
	aad := e.get("ciphertext", "POST", "encrypt/n", `{"plaintext":"YQ==","associated_data":"YWFk"}`)
	cctx := e.get("ciphertext", "POST", "encrypt/conv", `{"plaintext":"YQ==","context":"YQ=="}`)
	sig := e.get("signature", "POST", "sign/ed", `{"input":"YQ=="}`)
	mac := e.get("hmac", "POST", "hmac/n", `{"input":"YQ=="}`)
	edd := e.get("signature", "POST", "sign/edd", `{"input":"YQ==","context":"YQ=="}`)
	e.must("POST", "keys/two/rotate", "")
	e.must("POST", "keys/old/rotate", "")
	e.must("POST", "keys/old/config", `{"min_decryption_version":2,"min_encryption_version":2}`)
	e.must("POST", "keys/old/trim", `{"min_available_version":2}`)
	long := strings.Repeat("YWFh", 64) // 192 bytes
	ok190 := strings.Repeat("YWFh", 63) + "YQ=="
	return slices.Concat(cipherRows(c, aad, cctx, long, ok190), batchRows(c), signRows(sig, mac, edd), keyRows(),
		exportRows(), toolRows())
}

func cipherRows(c, aad, cctx, long, ok190 string) []row {
	return []row{
		{"1", "POST", "encrypt/n", `{"plaintext":"YQ==","nonce":"YQ=="}`, 200, sealed, 0,
			"Endpoint ignored these unrecognized parameters: [nonce]"},
		{"2", "POST", "encrypt/n", `{"plaintext":"YQ==","associated_data":"YWFk"}`, 200, sealed, 0, ""},
		{"3", "POST", "decrypt/n", body("ciphertext", aad), 400, "cipher: message authentication failed", 0, ""},
		{"4", "POST", "decrypt/n", body("ciphertext", c, "associated_data", "!!"), 500,
			multi("unable to get associated_data/additional_data from factory[0]: illegal base64 data at input byte 0"), 400,
			""},
		{"5: AAD is supported", "POST", "rewrap/n", body("ciphertext", aad, "associated_data", "YWFk"), 400, sealed, 200, ""},
		{"5: without", "POST", "rewrap/n", body("ciphertext", aad), 400, "cipher: message authentication failed", 0, ""},
		{"6", "POST", "encrypt/n", `{"plaintext":""}`, 200, `vault:v1:[A-Za-z0-9+/]{38}==`, 0, ""},
		{"7", "POST", "encrypt/n", `{}`, 400, "missing plaintext to encrypt", 0, ""},
		{"8", "POST", "encrypt/n", `{"plaintext":"%%%"}`, 400, "illegal base64 data at input byte 0", 0, ""},
		{"9", "POST", "encrypt/n", `{"plaintext":"YQ==","key_version":9}`, 400,
			"requested version for encryption is higher than the latest key version", 0, ""},
		{"9: negative", "POST", "encrypt/n", `{"plaintext":"YQ==","key_version":-1}`, 400,
			"requested version for encryption is negative", 0, ""},
		{"9: too low", "POST", "encrypt/old", `{"plaintext":"YQ==","key_version":1}`, 400,
			"requested version for encryption is less than the minimum encryption key version", 0, ""},
		{"10", "POST", "encrypt/n", `{"plaintext":"YQ==","key_version":"1"}`, 200, sealed, 0, ""},
		{"10: 0", "POST", "encrypt/two", `{"plaintext":"YQ==","key_version":"0"}`, 200, `"vault:v2:.*"key_version":2`, 0, ""},
		{"11", "POST", "encrypt/n", `{"plaintext":"YQ==","key_version":"x"}`, 400,
			"error converting input for field \"key_version\": '' cannot parse value as 'int': strconv.ParseInt: invalid syntax",
			0, ""},
		{"12", "GET", "encrypt/n", "", 405, multi("unsupported operation"), 0, ""},
		{"12: delete", "DELETE", "encrypt/n", "", 405, multi("unsupported operation"), 0, ""},
		{"12: list", "LIST", "encrypt/", "", 404, noPath, 0, ""},
		{"13", "POST", "encrypt/ed", `{"plaintext":"YQ=="}`, 400, "message encryption not supported for key type ed25519", 0,
			""},
		{"13: decrypt", "POST", "decrypt/mac", `{"ciphertext":"vault:v1:YQ=="}`, 400,
			"message decryption not supported for key type hmac", 0, ""},
		{"14", "POST", "encrypt/rsa", body("plaintext", ok190), 200, sealed, 0, ""},
		{"14: too long", "POST", "encrypt/rsa", body("plaintext", long), 500,
			multi("failed to RSA encrypt the plaintext: crypto/rsa: message too long for RSA key size"), 400, ""},
		{"15", "POST", "encrypt/rsa", `{"plaintext":"YQ==","associated_data":"YQ=="}`, 400,
			"'[0].associated_data' provided for non-AEAD cipher suite rsa-2048", 0, ""},
		{"16: honoured", "POST", "encrypt/rsa", `{"plaintext":"YQ==","padding_scheme":"pkcs1v15"}`, 200, sealed, 0, ""},
		{"17", "POST", "decrypt/rsa", `{"ciphertext":"vault:v1:YWFh"}`, 500,
			multi("failed to RSA decrypt the ciphertext: crypto/rsa: decryption error"), 400, ""},
		{"18", "POST", "encrypt/absent", `{"plaintext":"YQ==","type":"ecdsa-p256"}`, 400,
			"key type ecdsa-p256 not supported for this operation", 0, ""},
		{"18: rsa", "POST", "encrypt/absent", `{"plaintext":"YQ==","type":"rsa-2048"}`, 400,
			"unknown key type rsa-2048", 0, ""},
		{"18: foo", "POST", "encrypt/absent", `{"plaintext":"YQ==","type":"foo"}`, 400, "unknown key type foo", 0, ""},
		{"19", "POST", "encrypt/made", `{"plaintext":"YQ=="}`, 200, sealed, 0, ""},
		{"19: convergent", "POST", "encrypt/made2", `{"plaintext":"YQ==","convergent_encryption":true}`, 400,
			"convergent encryption requires derivation to be enabled, so context is required", 0, ""},
		{"24", "POST", "encrypt/derived", `{"plaintext":"YQ=="}`, 400, noContext, 0, ""},
		{"24: before AAD", "POST", "datakey/plaintext/derived", `{}`, 400, noContext, 0, ""},
		{"25", "POST", "encrypt/derived", `{"plaintext":"YQ==","context":"@@"}`, 400,
			"illegal base64 data at input byte 0", 0, ""},
		{"26", "POST", "encrypt/conv", `{"plaintext":"YQ==","context":"YQ=="}`, 200, regexp.QuoteMeta(cctx), 0, ""},
		{"26: other context", "POST", "decrypt/conv", body("ciphertext", cctx, "context", "Yg=="), 400,
			"cipher: message authentication failed", 0, ""},
		{"27", "POST", "encrypt/n", `{"plaintext":"YQ==","context":"YQ=="}`, 200, sealed, 0, ""},
		{"6.3: empty", "POST", "decrypt/n", `{"ciphertext":""}`, 400, "missing ciphertext to decrypt", 0, ""},
		{"6.3: none", "POST", "decrypt/n", `{}`, 400, "missing ciphertext to decrypt", 0, ""},
		{"6.3: no prefix", "POST", "decrypt/n", `{"ciphertext":"x"}`, 400, "invalid ciphertext: no prefix", 0, ""},
		{"6.3: fields", "POST", "decrypt/n", `{"ciphertext":"vault:v1"}`, 400, "invalid ciphertext: wrong number of fields",
			0, ""},
		{"6.3: number", "POST", "decrypt/n", `{"ciphertext":"vault:vx:AAAA"}`, 400,
			"invalid ciphertext: version number could not be decoded", 0, ""},
		{"6.3: new", "POST", "decrypt/n", `{"ciphertext":"vault:v9:AAAA"}`, 400, "invalid ciphertext: version is too new", 0,
			""},
		{"6.3: base64", "POST", "decrypt/n", `{"ciphertext":"vault:v1:AA:AA"}`, 400,
			"invalid ciphertext: could not decode base64", 0, ""},
		{"6.3: short", "POST", "decrypt/n", `{"ciphertext":"vault:v1:AAAA"}`, 400, "invalid ciphertext length", 0, ""},
		{"6.3: negative", "POST", "decrypt/n", `{"ciphertext":"vault:v-1:AAAA"}`, 400,
			"ciphertext or signature version is disallowed by policy (too old)", 0, ""},
		{"6.3: old", "POST", "decrypt/old", `{"ciphertext":"vault:v1:AAAA"}`, 400,
			"ciphertext or signature version is disallowed by policy (too old)", 0, ""},
		{"6.3: v0", "POST", "decrypt/n", body("ciphertext", strings.Replace(c, "v1", "v0", 1)), 200,
			`"plaintext":"YQ=="`, 0, ""},
		{"6.3: absent", "POST", "decrypt/absent", `{"ciphertext":"vault:v1:AAAA"}`, 400, "encryption key not found", 0, ""},
		{"66", "POST", "datakey/plaintext/n", `{}`, 200, `^\{"ciphertext":"vault:v1:[^"]+","key_version":1,"plaintext":"[^"]{44}"\}$`, 0, ""},
		{"66: wrapped", "POST", "datakey/wrapped/n", `{"bits":512}`, 200, sealed, 0, ""},
		{"67", "POST", "datakey/wrapped/n", `{"bits":100}`, 400, "invalid bit length", 0, ""},
		{"67: kind", "POST", "datakey/foo/n", `{}`, 400, "Invalid path, must be 'plaintext' or 'wrapped'", 0, ""},
		{"67: absent", "POST", "datakey/wrapped/absent", `{}`, 400, "encryption key not found", 0, ""},
		{"67: type", "POST", "datakey/wrapped/ed", `{}`, 400, "message encryption not supported for key type ed25519", 0, ""},
		{"68", "POST", "datakey/wrapped/n", `{"associated_data":"YQ=="}`, 200, sealed, 0, ""},
		{"69", "POST", "datakey/plaintext/rsa", `{}`, 200, `"plaintext":`, 0, ""},
		{"datakeys", "POST", "datakeys/plaintext/n", `{"count":"2"}`, 404, `^\{"key_pairs":\[\{.*"plaintext".*\},\{.*"plaintext".*\}\]\}$`, 200, ""},
	}
}

func batchRows(c string) []row {
	bad := `{"plaintext":"!","reference":"r"}`
	return []row{
		{"30", "POST", "encrypt/n", `{"batch_input":[{"plaintext":"YQ=="},` + bad + `]}`, 400,
			`^\{"batch_results":\[\{"ciphertext":"vault:v1:[^"]+","key_version":1,"reference":""\},` +
				`\{"error":"illegal base64 data at input byte 0","reference":"r"\}\]\}$`, 0, ""},
		{"31", "POST", "encrypt/n", `{"partial_failure_response_code":200,"batch_input":[{"plaintext":"YQ=="},` + bad + `]}`, 200, `"error"`, 0, ""},
		{"31: 999", "POST", "encrypt/n", `{"partial_failure_response_code":999,"batch_input":[{"plaintext":"YQ=="},` + bad + `]}`, 400, `"error"`, 0,
			"invalid HTTP response code override from partial_failure_response_code, reverting to 400"},
		{"31: decrypt", "POST", "decrypt/n", body("partial_failure_response_code", "207", "batch_input",
			[]any{map[string]any{"ciphertext": c}, map[string]any{"ciphertext": "x"}}), 207,
			`"plaintext":"YQ==","reference":""`, 0, ""},
		{"32", "POST", "encrypt/n", `{"partial_failure_response_code":200,"batch_input":[` + bad + `]}`, 400,
			`"batch_results"`, 0, ""},
		{"33", "POST", "decrypt/n",
			body("batch_input", []any{map[string]any{"ciphertext": c}, map[string]any{"ciphertext": "!", "reference": "r"}}),
			400, `,\{"plaintext":"","error":"invalid ciphertext: no prefix","reference":"r"\}\]\}$`, 0, ""},
		{"34", "POST", "encrypt/n", `{"batch_input":[]}`, 400, "missing batch input to process", 0, ""},
		{"34: text", "POST", "encrypt/n", `{"batch_input":"x"}`, 500,
			multi("failed to parse batch input: source data must be an array or slice, got string"), 400, ""},
		{"34: sign", "POST", "sign/ed", `{"batch_input":"x"}`, 500,
			multi("failed to parse batch input: '' source data must be an array or slice, got string"), 400, ""},
		{"34: no map", "POST", "encrypt/n", `{"batch_input":[5]}`, 500,
			multi("failed to parse batch input: [0] expected a map, got 'json.Number'"), 400, ""},
		{"34: no field", "POST", "encrypt/n", `{"batch_input":[{"foo":1}]}`, 500,
			multi("failed to parse batch input: '[0].plaintext' missing plaintext to encrypt"), 400, ""},
		{"34: decrypt", "POST", "decrypt/n", `{"batch_input":[{"foo":1}]}`, 500,
			multi("failed to parse batch input: '[0].ciphertext' missing ciphertext to decrypt"), 400, ""},
		{"35", "POST", "encrypt/n", `{"batch_input":[{"plaintext":"YQ==","context":"YQ=="},{"plaintext":"YQ=="}]}`, 400,
			"context should be set either in all the request blocks or in none", 0, ""},
		{"36", "POST", "rewrap/n",
			body("batch_input", []any{map[string]any{"ciphertext": c}, map[string]any{"ciphertext": "!", "reference": "r"},
				map[string]any{}}),
			200, `"key_version":1,"reference":""\},\{"error":"invalid ciphertext: no prefix","reference":"r"\},` +
				`\{"error":"missing ciphertext to decrypt","reference":""\}\]\}$`, 0, ""},
		{"37", "POST", "sign/ed", `{"batch_input":[{"input":"YQ=="},{"input":"!","reference":"r"},{"x":1}]}`, 200,
			`"key_version":1,"reference":""\},\{"key_version":0,"error":"unable to decode input as base64: illegal base64 data at input byte 0",` +
				`"reference":"r"\},\{"key_version":0,"error":"missing input","reference":""\}\]\}$`, 0, ""},
		{"38", "POST", "hmac/n", `{"batch_input":[{"input":"YQ=="},{}]}`, 200,
			`^\{"batch_results":\[\{"hmac":"vault:v1:[^"]+","reference":""\},\{"error":"missing input for HMAC","reference":""\}\]\}$`, 0, ""},
		{"39", "POST", "verify/ed", `{"batch_input":[{"input":"!","signature":"x","reference":"r"},{"input":"YQ==","signature":"x"},{"signature":"x"}]}`, 200,
			`^\{"batch_results":\[\{"valid":false,"error":"unable to decode input as base64: illegal base64 data at input ` +
				`byte 0","reference":"r"\},` +
				`\{"valid":false,"error":"invalid signature: no prefix","reference":""\},\{"valid":false,"error":"missing ` +
				`input","reference":""\}\]\}$`, 0, ""},
		{"40", "POST", "verify/ed", `{"batch_input":[{"input":"YQ==","signature":"x"},{"input":"YQ==","hmac":"x"}]}`, 400,
			"elements of batch_input must all provide 'signature' or all provide 'hmac'", 0, ""},
		{"40: none", "POST", "verify/ed", `{"batch_input":[{"input":"YQ=="}]}`, 400,
			"no batch_input elements have 'signature' or 'hmac'", 0, ""},
		{"numbers as strings", "POST", "encrypt/n", `{"batch_input":[{"plaintext":"YQ==","key_version":"1"}]}`, 500,
			`"key_version":1`, 200, ""},
	}
}

func signRows(sig, mac, edd string) []row {
	none := "hash_algorithm=none requires both prehashed=true and signature_algorithm=pkcs1v15"
	return []row{
		{"28", "GET", "keys/edd", "", 200, `"public_key":""`, 0, ""},
		{"28: context", "GET", "keys/edd?context=YQ==", "", 200, `"public_key":"[^"]{44}"`, 0, ""},
		{"28: bad context", "GET", "keys/edd?context=@", "", 400, "failed to base64-decode context", 0, ""},
		{"29", "POST", "sign/edd", `{"input":"YQ=="}`, 500, multi("error deriving key: " + noContext), 400, ""},
		{"29: context", "POST", "sign/edd", `{"input":"YQ==","context":"YQ=="}`, 200,
			`^\{"key_version":1,"public_key":"[^"]{44}","signature":"`, 0, ""},
		{"29: verify", "POST", "verify/edd", body("input", "YQ==", "context", "YQ==", "signature", edd), 200,
			`^\{"valid":true\}$`, 0, ""},
		{"29: other context", "POST", "verify/edd", body("input", "YQ==", "context", "Yg==", "signature", edd), 200,
			`^\{"valid":false\}$`, 0, ""},
		{"41", "POST", "verify/ed", body("input", "YQ==", "signature", sig, "hmac", "x"), 200, `^\{"valid":true\}$`, 0, ""},
		{"41: text", "POST", "verify/ed", `{"input":"YQ==","signature":"x","hmac":"y"}`, 400,
			"invalid signature: no prefix", 0, ""},
		{"42: ed25519", "POST", "sign/ed", `{"input":"YQ=="}`, 200, `"signature":"vault:v1:[^"]{88}"`, 0, ""},
		{"42: p256", "POST", "sign/p256", `{"input":"YQ=="}`, 200, `"signature":"vault:v1:ME[^"]{90,98}"`, 0, ""},
		{"43", "POST", "sign/p256", `{"input":"YQ==","marshaling_algorithm":"jws"}`, 200,
			`"signature":"vault:v1:[-_A-Za-z0-9]{86}"`, 0, ""},
		{"43: rsa", "POST", "sign/rsa", `{"input":"YQ==","marshaling_algorithm":"jws"}`, 200,
			`"signature":"vault:v1:[-_A-Za-z0-9]{342}"`, 0, ""},
		{"44", "POST", "sign/p256/sha2-384", `{"input":"YQ==","hash_algorithm":"sha2-256"}`, 200, `"signature"`, 0, ""},
		{"45: sha1", "POST", "sign/rsa/sha1", `{"input":"YQ=="}`, 200, `"signature"`, 0, ""},
		{"45: sha3", "POST", "sign/rsa/sha3-512", `{"input":"YQ=="}`, 200, `"signature"`, 0, ""},
		{"46", "POST", "sign/rsa", `{"input":"YQ==","hash_algorithm":"none"}`, 400, none, 0, ""},
		{"46: ecdsa", "POST", "sign/p256/none", `{"input":"YQ==","prehashed":true}`, 400, none, 0, ""},
		{"46: allowed", "POST", "sign/rsa", `{"input":"YQ==","hash_algorithm":"none","prehashed":true,"signature_algorithm":"pkcs1v15"}`, 200, `"signature"`, 0, ""},
		{"47", "POST", "sign/rsa", `{"input":"YQ==","hash_algorithm":"md5"}`, 400, `invalid hash algorithm "md5"`, 0, ""},
		{"47: path", "POST", "sign/rsa/sha2-512/foo", `{"input":"YQ=="}`, 400, noPath, 404, ""},
		{"48", "POST", "sign/rsa", `{"input":"YQ==","prehashed":true}`, 500,
			multi("crypto/rsa: input must be hashed with given hash"), 400, ""},
		{"48: pkcs1", "POST", "sign/rsa", `{"input":"YQ==","prehashed":true,"signature_algorithm":"pkcs1v15"}`, 500,
			multi("crypto/rsa: input must be hashed message"), 400, ""},
		{"49", "POST", "sign/p256", `{"input":"YQ==","prehashed":true}`, 200, `"signature"`, 0, ""},
		{"50: auto", "POST", "sign/rsa", `{"input":"YQ==","salt_length":"auto"}`, 200, `"signature"`, 0, ""},
		{"50: hash", "POST", "sign/rsa", `{"input":"YQ==","salt_length":"hash"}`, 200, `"signature"`, 0, ""},
		{"50: text", "POST", "sign/rsa", `{"input":"YQ==","salt_length":"20"}`, 200, `"signature"`, 0, ""},
		{"50: number", "POST", "sign/rsa", `{"input":"YQ==","salt_length":222}`, 200, `"signature"`, 0, ""},
		{"50: -1", "POST", "sign/rsa", `{"input":"YQ==","salt_length":"-1"}`, 200, `"signature"`, 0, ""},
		{"51", "POST", "sign/rsa", `{"input":"YQ==","salt_length":9999}`, 500, multi("requested salt length 9999 is invalid"),
			400, ""},
		{"51: one too many", "POST", "sign/rsa", `{"input":"YQ==","salt_length":223}`, 500,
			multi("requested salt length 223 is invalid"), 400, ""},
		{"51: text", "POST", "sign/rsa", `{"input":"YQ==","salt_length":"bogus"}`, 400,
			"salt length neither 'auto', 'hash', nor an int: bogus", 0, ""},
		{"51: -2", "POST", "sign/rsa", `{"input":"YQ==","salt_length":-2}`, 400, "salt length is invalid: -2", 0, ""},
		{"52", "POST", "sign/rsa", `{"input":"YQ==","signature_algorithm":"foo"}`, 500,
			multi("unsupported rsa signature algorithm foo"), 400, ""},
		{"52: verify", "POST", "verify/rsa", `{"input":"YQ==","signature":"vault:v1:AAAA","signature_algorithm":"foo"}`, 500,
			multi("unsupported rsa signature algorithm foo"), 400, ""},
		{"53", "POST", "sign/n", `{"input":"YQ=="}`, 400, "key type aes256-gcm96 does not support signing", 0, ""},
		{"53: absent", "POST", "sign/absent", `{"input":"YQ=="}`, 400, "signing key not found", 0, ""},
		{"53: verify", "POST", "verify/n", `{"input":"YQ==","signature":"vault:v1:AAAA"}`, 400,
			"key type aes256-gcm96 does not support verification", 0, ""},
		{"53: verify absent", "POST", "verify/absent", `{"input":"YQ==","signature":"vault:v1:AAAA"}`, 400,
			"signature verification key not found", 0, ""},
		{"54", "POST", "sign/ed", `{}`, 200, `"signature"`, 0, ""},
		{"55: Ed25519ph", "POST", "sign/ed", `{"input":"YQ==","prehashed":true,"hash_algorithm":"sha2-512"}`, 200,
			"the input of Ed25519ph is a SHA-512 digest of 64 bytes, not of 1: leave prehashed out to sign the text itself", 400,
			""},
		{"55: prehashed by another", "POST", "sign/ed", `{"input":"YQ==","prehashed":true}`, 200,
			regexp.QuoteMeta(sig), 0, ""},
		{"56", "POST", "verify/ed", `{"input":"YQ=="}`, 400, "neither a 'signature' nor an 'hmac' were given to verify", 0,
			""},
		{"57", "POST", "verify/p256", `{"input":"YQ==","signature":"vault:v1:AAAA"}`, 400,
			"supplied signature is invalid", 0, ""},
		{"57: jws", "POST", "verify/p256", `{"input":"YQ==","signature":"vault:v1:AAAA","marshaling_algorithm":"jws"}`, 200, `^\{"valid":false\}$`, 0, ""},
		{"57: rsa", "POST", "verify/rsa", `{"input":"YQ==","signature":"vault:v1:AAAA"}`, 200, `^\{"valid":false\}$`, 0, ""},
		{"57: new", "POST", "verify/ed", `{"input":"YQ==","signature":"vault:v9:AAAA"}`, 400,
			"invalid signature: version is too new", 0, ""},
		{"57: v0", "POST", "verify/ed", `{"input":"YQ==","signature":"vault:v0:AAAA"}`, 400,
			"ciphertext or signature version is disallowed by policy (too old)", 0, ""},
		{"57: base64", "POST", "verify/ed", `{"input":"YQ==","signature":"vault:v1:!!"}`, 400,
			"invalid base64 signature value", 0, ""},
		{"58", "POST", "hmac/n", `{"input":"YQ=="}`, 200, regexp.QuoteMeta(mac), 0, ""},
		{"58: sha1", "POST", "hmac/n/sha1", `{"input":"YQ=="}`, 200, `"hmac":"vault:v1:[^"]{28}"`, 0, ""},
		{"58: verify", "POST", "verify/n", body("input", "YQ==", "hmac", mac), 200, `^\{"valid":true\}$`, 0, ""},
		{"58: wrong", "POST", "verify/n", `{"input":"YQ==","hmac":"vault:v1:AAAA"}`, 200, `^\{"valid":false\}$`, 0, ""},
		{"58: no prefix", "POST", "verify/n", `{"input":"YQ==","hmac":"x"}`, 400, "invalid HMAC to verify: no prefix", 0, ""},
		{"58: new", "POST", "verify/n", `{"input":"YQ==","hmac":"vault:v9:AAAA"}`, 400,
			"invalid HMAC: version is too new", 0, ""},
		{"58: old", "POST", "verify/n", `{"input":"YQ==","hmac":"vault:v0:AAAA"}`, 400,
			"cannot verify HMAC: version is too old (disallowed by policy)", 0, ""},
		{"59", "POST", "hmac/n/none", `{"input":"YQ=="}`, 400, "algorithm cannot be none", 0, ""},
		{"59: none", "POST", "hmac/n", `{}`, 400, "missing input for HMAC", 0, ""},
		{"59: version", "POST", "hmac/n", `{"input":"YQ==","key_version":9}`, 400,
			"key version does not exist; latest key version is 1", 0, ""},
		{"59: negative", "POST", "hmac/n", `{"input":"YQ==","key_version":-1}`, 400,
			"key version does not exist (cannot be negative)", 0, ""},
		{"60: of AES keys", "POST", "cmac/n", `{"input":"YQ=="}`, 404, "key type aes256-gcm96 does not support CMAC", 400,
			""},
		{"60: cmac", "POST", "cmac/cmac/8", `{"input":"YQ=="}`, 404, `^\{"cmac":"vault:v1:[^"]{12}"\}$`, 200, ""},
		{"ml-dsa", "POST", "sign/pq", `{"input":"YQ=="}`, 400, `"signature":"vault:v1:`, 200, ""},
		{"sign: version", "POST", "sign/ed", `{"input":"YQ==","key_version":9}`, 500,
			multi("requested version for signing is higher than the latest key version"), 400, ""},
		{"sign: base64", "POST", "sign/ed", `{"input":"!"}`, 400,
			"unable to decode input as base64: illegal base64 data at input byte 0", 0, ""},
		{"sign: context", "POST", "sign/ed", `{"input":"YQ==","context":"!"}`, 400, "failed to base64-decode context", 0, ""},
		{"sign: marshaling", "POST", "sign/p256", `{"input":"YQ==","marshaling_algorithm":"x"}`, 400,
			`invalid marshaling type "x"`, 0, ""},
		{"106", "POST", "verify/ed//sha2-256", body("input", "YQ==", "signature", sig), 307, `^\{"valid":true\}$`, 200, ""},
	}
}

func TestMeasuredAnswers(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	for _, k := range tableKeys {
		e.must("POST", "keys/"+k[0], k[1])
	}
	for _, r := range tableRows(e) {
		want := r.status
		if r.now != 0 {
			want = r.now
		}
		a := e.do(r.method, r.path, r.body)
		switch {
		case a.status != want:
			t.Errorf("%s: %s %s %s: status %d, not %d: %s", r.name, r.method, r.path, r.body, a.status, want, a.body)
		case strings.HasPrefix(a.body, "{"):
			if !regexp.MustCompile(r.text).MatchString(a.body) {
				t.Errorf("%s: %s %s: %s does not match %s", r.name, r.method, r.path, a.body, r.text)
			}
		case a.body != r.text:
			t.Errorf("%s: %s %s %s: %q, not %q", r.name, r.method, r.path, r.body, a.body, r.text)
		}
		if r.warning != "" && !slices.Contains(a.warnings, r.warning) {
			t.Errorf("%s: %s %s: warnings %q", r.name, r.method, r.path, a.warnings)
		}
	}
}
