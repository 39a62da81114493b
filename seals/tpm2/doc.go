// Package tpm2 is a seal on the TPM 2.0 of the node, for nodes without an HSM: the root key is
// sealed to a key that never leaves the chip.
//
// It guarantees that a blob opens on the TPM that made it alone, and, where pcrs is set, only while
// those registers have the values of the time of sealing; that a blob which the TPM did not make is
// refused; that secrets cross the bus encrypted; and that a wrong PIN is never retried. Before the
// PIN's last tries it refuses to send one: a TPM that locks itself out refuses every PIN of the
// machine for hours.
//
// It does not protect from who controls the running node: root may use the TPM as the server does.
// A cleared TPM, or a new mainboard, opens nothing: combine this seal with another, or have
// recovery shares with break-glass. In a cluster each node has its own TPM, so that no record
// serves all of them: it is a seal for single nodes.
//
// The key is a primary key of the owner hierarchy by the TCG's template (ECC P-256 storage root
// key), made anew from the TPM's seed for each call, so nothing is stored in the TPM.
//
// Stays compatible: the blob, in the format of package envelope. Its wrapped key is
//
//	format  u8 = 1
//	flags   u8               bit 0: needs the PIN
//	pcrs    u32              selected registers of the SHA-256 bank, bit n for PCR n; 0: none
//	public  u16-len bytes    TPMT_PUBLIC of the sealed object
//	private u16-len bytes    TPM2B_PRIVATE's buffer
package tpm2
