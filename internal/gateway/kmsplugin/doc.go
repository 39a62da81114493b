// Package kmsplugin is the key of the Kubernetes KMS v2 sidecar: a transit key of a Sealgate,
// OpenBao or Vault cluster, over HTTPS.
//
// It guarantees that a call tries the nodes of the cluster one after the other within its deadline,
// and none that has just failed while another one may answer; that tokens are renewed, and
// certificates, secret ids and token files read again when they change; that a refused token costs
// one more login and no call; and that no error shows an address, a token or a server's text.
//
// It does not follow redirects, which would send the token elsewhere, and knows no other cluster:
// all addresses are of one, because the others could not decrypt.
package kmsplugin
