// Package importer brings what a running Vault or OpenBao server holds to a running Sealgate, over
// their APIs: mounts of kv and transit with their content, ACL and password policies, token roles,
// and the auth methods approle, userpass, cert, jwt, oidc and kubernetes.
//
// It guarantees:
//   - nothing is written to the source, except that a transit backup notes its time in the key;
//   - what exists at the destination and differs is never changed, unless Options.Overwrite is set;
//   - a run that was interrupted is continued by the next one, and a run over a complete import
//     changes nothing;
//   - the numbers of a secret's versions are kept, so that check-and-set works as before;
//   - every name of the source is checked before it becomes part of a path at the destination;
//   - no secret value is written to a file, a log, an error or the report.
//
// It does not guarantee a consistent moment of the source: what changes during a run is found by
// the next one. The API does not show everything. Times of creation, contents of deleted versions,
// passwords, secret ids and keys that are not exportable stay behind; the report names each of them
// but the times, which are never kept.
package importer
