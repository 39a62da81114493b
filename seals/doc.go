// Package seals wraps a root key with a set of seals and unwraps it again.
//
// A seal is a named [wrapping.Wrapper] of go-kms-wrapping. This package owns the [Set] of seals,
// its policy and the sealed [Record]. It imports no provider SDK; each provider (seals/pkcs11,
// seals/awskms, ...) is a package of its own that other programs can use without a set.
//
//	  Wrap                     Record                  Unwrap
//	root key ─split by policy▶ part of seal "hsm" ─decrypt▶ any part, or k parts
//	                           part of seal "kms" ─decrypt▶ combined ─▶ root key
//
// The package guarantees:
//   - Every part of a record that [Set.Wrap] returns was decrypted again and compared.
//   - Every part is bound to the cluster, the name of its seal and the generation of the root key.
//   - Every failure carries a [Class] and a remedy, and contains no secret.
//   - A call to a seal ends by its deadline: the provider's own where it is [Bounded], else the
//     deadline of the set, even where the provider ignores its context.
//   - [Set.Unwrap] returns as soon as the policy is met. It does not wait for other seals.
//
// The package does not guarantee that a seal can decrypt tomorrow. [Set.Probe] measures that, with
// the stored part itself.
//
// The format of a [Record] and the JSON form of [Status] stay compatible between versions.
package seals
