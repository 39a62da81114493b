package ceremonies

import (
	"github.com/sealgate/sealgate/internal/api"
)

var shareFields = []api.DocField{
	{"key", "string", "One share, in hex or base64."},
	{"nonce", "string", "The nonce of the ceremony, as its start returned it."},
}

var verifyFields = shareFields

var shareSetField = []api.DocField{
	{"secret_shares", "integer", "Shares to make."}, {"secret_threshold", "integer", "Shares that will be needed."},
	{"pgp_keys", "list", "A public key for each share, PGP or age, to which it is encrypted."},
	{"backup", "boolean", "Keep the encrypted shares on the server."},
	{"require_verification", "boolean", "The new shares take effect when a threshold of them is proven."},
	{"holders", "list", "The name of each share's holder."},
	{"stored_shares", "integer", "Accepted from older clients; 1 or 0."},
	{"nonce", "string", "To cancel: the nonce of the ceremony."},
}

var rootFields = []api.DocField{
	{"otp", "string", "A one-time password of the token's length; without it, one is made and returned."},
	{"pgp_key", "string", "A public key to which the token is encrypted, in place of a password."},
	{"nonce", "string", "To cancel: the nonce of the attempt."},
	{"key", "string", "To cancel without a token: a share of the current share set."},
}

var ceremonyDocs = map[string]api.Doc{
	"sys/decode-token": {Text: "Decodes a token of generate-root.", Read: true,
		Body: []api.DocField{{"encoded_token", "string", ""}, {"otp", "string", ""}}},
	"sys/recovery/holders":     {Text: "Shows the holders of shares, and when each was last proven."},
	"sys/recovery/transcript":  {Text: "All records of ceremonies, signed."},
	"sys/recovery/transcripts": {Text: "Lists the records of ceremonies."},
	"sys/recovery/transcripts/*": {Text: "One record of a ceremony, signed; a write adds a person's signature.",
		Body: []api.DocField{
			{"name", "string", "The name of the signer."}, {"signature", "string", "An SSH or PGP signature, armored."},
			{"public_key", "string", "The armored public key of a PGP signature."},
		}},
	"sys/recovery/prove": {Text: "Proves that a share is good.", Read: true,
		Body: []api.DocField{{"key", "string", "One share, in hex or base64."}}},
	"sys/generate-root/update":            {Text: "Gives one share to generate-root.", Body: shareFields, Read: true},
	"sys/generate-root/attempt":           {Text: "An attempt to make a root token by shares.", Body: rootFields},
	"sys/generate-root-token/update":      {Text: "Gives one share to generate-root.", Body: shareFields, Read: true},
	"sys/generate-root-token/attempt":     {Text: "An attempt to make a root token by shares.", Body: rootFields},
	"sys/generate-root/acknowledge":       {Text: "The token has arrived: wipe it.", Body: shareFields, Empty: true},
	"sys/generate-root-token/acknowledge": {Text: "The token has arrived: wipe it.", Body: shareFields, Empty: true},
}

// custodianDocs document rekeying, which has four sets of paths.
func custodianDocs() map[string]api.Doc {
	out := map[string]api.Doc{}
	for _, p := range []string{"sys/rekey/", "sys/rekey-recovery-key/", "sys/rotate/root/", "sys/rotate/recovery/"} {
		out[p+"init"] = api.Doc{Text: "A ceremony that makes new shares.", Body: shareSetField}
		out[p+"update"] = api.Doc{Text: "Gives one share to the ceremony.", Body: shareFields, Read: true}
		out[p+"verify"] = api.Doc{Text: "Proves one of the new shares, before they take effect.", Body: verifyFields}
		out[p+"acknowledge"] = api.Doc{Text: "The new shares have arrived: wipe them.", Body: shareFields, Empty: true}
	}
	for _, p := range []string{"sys/rekey/backup", "sys/rekey/recovery-key-backup", "sys/rotate/root/backup",
		"sys/rotate/recovery/backup"} {
		out[p] = api.Doc{Text: "The encrypted shares that the server keeps."}
	}
	return out
}
