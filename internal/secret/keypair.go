package secret

import (
	"crypto/tls"
	"os"
)

// KeyPair is tls.LoadX509KeyPair for a private key: it wipes the file's content after parsing.
// What the parser allocates is erased in a program that is built for it (see [Do]). The parsed key
// stays in memory for as long as the certificate is used, and not in locked pages: TLS needs it at
// every handshake, and Go's key types allocate their own numbers.
func KeyPair(certFile, keyFile string) (pair tls.Certificate, err error) {
	cert, err := os.ReadFile(certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := os.ReadFile(keyFile) // one buffer of the file's size
	if err != nil {
		return tls.Certificate{}, err
	}
	defer clear(key)
	Do(func() { pair, err = tls.X509KeyPair(cert, key) })
	return pair, err
}
