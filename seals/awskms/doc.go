// Package awskms is the seal on a key of AWS KMS. It uses version 2 of the AWS SDK. Every Go
// program that takes a go-kms-wrapping/v2 Wrapper can use it, by [New] or with its own client by
// [NewWithClient]. The parameters and environment variables are those of Vault and OpenBao; see
// [New].
//
// Secrets are encrypted here by AES-256-GCM with a random data key, and the data key by the KMS. So
// a secret of any length costs one request, the KMS never sees the secret, and a damaged answer is
// detected although AWS sends no checksums.
//
// The package guarantees:
//   - The additional data is bound twice: to the secret, byte by byte, and to the data key as the
//     KMS encryption context. Lines of name=value become pairs of that context, which appear in
//     CloudTrail and can be required by a key policy.
//   - Decrypt names the key by its canonical ARN, and refuses a blob of a foreign key without a
//     request. With an alias, keys of the alias's account and region are accepted, so that the
//     alias can be moved to a new key.
//   - Encrypt and Decrypt are one request each while credentials are valid and AWS answers. With
//     retries and the search for credentials, a call ends by the context's deadline and by the
//     seal's timeout, and leaves nothing running.
//   - Credentials are renewed before they expire; files and variables are read again within a
//     minute, and at once when AWS refuses the credentials.
//   - Every error is a *seals.Failure with a remedy and without secrets.
//
// It needs kms:Encrypt and kms:Decrypt. It uses kms:DescribeKey and kms:GetKeyRotationStatus where
// they are allowed; without them it does not know the date of a pending deletion, and encrypts
// random bytes to learn the key's version.
//
// It does not read blobs of other programs, and it does not create or change keys. The blob format
// stays compatible.
package awskms
