//go:build no_pkcs11

package sealtypes

var newPKCS11 = leftOut("pkcs11")
