// Package xks is the mount that keeps the AWS external key stores of a server: stores, their
// credentials, and their external keys. The protocol itself is in package gateway/xks, which finds
// this mount by the gateway's stanza.
//
//	stores/<store>                          prefix, region, policies, health key, kill switch
//	stores/<store>/credentials              a new credential; several are valid at once
//	stores/<store>/credentials/<id>         removes one
//	stores/<store>/download                 the file that the console of AWS KMS takes
//	stores/<store>/keys/<external key id>   transit key, pinned KMS key, kill switch
//	stores/<store>/keys/<id>/confirm        pins the KMS key that used it first
//
// It guarantees that a change is one commit and in force when it was acknowledged, on this node;
// that the secret of a credential is behind the barrier alone, and shown only when it is made and
// by download; that two stores never have one prefix; and that a store can only be given policies
// that its author has: the policies decide which transit keys its callers reach.
//
// It does not guarantee that the last use of a credential is known to the last request: it is
// written once a minute by the active node. Each node counts the uses in its metrics.
//
// Stays compatible: the records, whose first byte is their version, at "s/<store>", "u/<store>" and
// "k/<store>/<external key id>".
package xks
