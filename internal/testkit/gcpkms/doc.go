// Package gcpkms is an emulator of Google Cloud KMS, for tests and trials. It is not
// a security product: it keeps keys in memory or, unencrypted, in a file.
//
// It speaks the gRPC API google.cloud.kms.v1 over TLS, and is meant to be as strict as the real
// service wherever Google documents what that does: each rule in the code names its source,
// and conform_test.go has one test for each. What it guarantees: names, states and their
// transitions, size limits, CRC32C checks in both directions, additional authenticated data,
// permissions that do not distinguish a missing from a forbidden resource, quotas, and status codes
// are those of the documentation; error texts have Google's shape.
//
// It does not support asymmetric keys, MACs, raw encryption, imports, external keys, Autokey, IAM
// policies, deletion and long-running operations: they answer UNIMPLEMENTED. Keys of these purposes
// can be made, so that what is refused for them can be tested.
//
// # Accounts
//
// A caller is a service account: it presents a JWT that it signed itself, or an access token that
// the OAuth2 endpoint gave it for such a JWT, or an opaque token that was registered for it.
// [Credentials] is the JSON file that Google's libraries read.
//
// # Backends
//
// gRPC is one listener. The other is HTTPS:
//
//	GET    /healthz                 200 while it serves
//	POST   /token                   OAuth2: grant_type urn:ietf:params:oauth:grant-type:jwt-bearer
//	POST   /emulator/faults          a [Fault] as JSON: the calls that it names fail
//	DELETE /emulator/faults          all faults are removed
//	GET    /emulator/calls           how often each method was called
//	POST   /emulator/act             {"action": A, "name": N}: see [Service.Act]
//
// Those below /emulator need the administrator's bearer token.
package gcpkms
