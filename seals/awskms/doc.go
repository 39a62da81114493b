// Package awskms is the seal on a key of AWS KMS, on AWS's current SDK. Any Go program that takes a go-kms-wrapping/v2 Wrapper can use it:
//
//	w, err := awskms.New(seals.Config{Name: "main", Type: "awskms", Getenv: os.Getenv, Params: map[string]string{
//		"kms_key_id": "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
//	}})
//	defer w.(*awskms.Wrapper).Close()
//	blob, err := w.Encrypt(ctx, secret, wrapping.WithAad(context))
//	again, err := w.Decrypt(ctx, blob, wrapping.WithAad(context))
//
// Or with a client of its own: [NewWithClient]. The parameters and environment variables are those of Vault and OpenBao; see [New].
//
// A secret is encrypted here, by AES-256-GCM under a random data key, and the data key by the KMS. So a secret of any length costs
// one request, the KMS never sees the secret, and an answer that was damaged on its way is found although AWS sends no checksums.
//
// It guarantees that
//
//   - the additional data is bound twice: to the secret, byte for byte, and to the data key as the KMS's encryption context, where
//     lines of name=value are pairs of it: they appear in CloudTrail, and a key policy may ask for them;
//   - Decrypt names the key, by the canonical ARN of the one that encrypted, and a blob of a foreign key is refused before AWS is
//     asked: by an alias, keys of the alias's own account and region count, so that the alias may be pointed at a new key;
//   - each Encrypt or Decrypt is one request where the credentials are at hand and AWS answers; with its retries, and with the
//     search for credentials, it ends by the context's deadline and by the seal's timeout, and leaves nothing running;
//   - credentials are asked for again before they expire, files and variables that hold some within a minute of their change, and
//     at once when AWS says that they are no good;
//   - every error is a *seals.Failure with a remedy and without secrets.
//
// kms:Encrypt and kms:Decrypt are needed. kms:DescribeKey and kms:GetKeyRotationStatus are used where they are allowed: without them
// the seal works, cannot tell the date of a pending deletion, and has to encrypt something to learn the key's version.
//
// It does not read blobs of other programs, and it does not create or change keys.
package awskms
