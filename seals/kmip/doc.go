// Package kmip is a seal on a key of a KMIP server, versions 1.2 to 1.4 (OASIS): the key stays in
// the server, which wraps a data key by AES-GCM.
//
// It guarantees what package envelope does: additional data are bound in any case, and by the
// server too where it speaks 1.4. It sends a request to the first endpoint that answers, over
// mutual TLS; negotiates the version; normalises where servers put the tag; and bounds and checks
// every answer.
//
// The state of the key decides what the seal may do: a deactivated or compromised key must not
// encrypt, and may decrypt where the server allows it. Then the server unseals and does not wrap.
//
// Parameters and environment variables are OpenBao's, but for encrypt_alg: only AES_GCM. With an
// RSA key everybody who has its public half could make a record.
//
// Stays compatible: the blob, in the format of package envelope. Its wrapped key is
//
//	format u8 = 1 | IV 12 bytes | tag 16 bytes | ciphertext
package kmip
