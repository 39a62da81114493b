// Package seals keeps the root key wrapped by a set of seals, and gets it back.
//
// A seal is a [wrapping.Wrapper] of go-kms-wrapping with a name. The [Set] of
// them, its [Policy] and the sealed [Record] are this package's; no SDK of any
// provider is imported here, and each provider (seals/pkcs11, seals/shamir, ...) can be used without it.
//
// It guarantees that a record it returns from [Set.Wrap] was decrypted again by every
// seal that it names; that every blob is bound to the cluster, the seal's
// name and the generation of the root key; that each failure carries a [Class] and a remedy; and
// that no call to a seal lasts longer than the set's deadline.
//
// It does not guarantee that a seal will be able to decrypt tomorrow: that is what
// [Set.Probe] measures, with the stored blob itself.
package seals
