package transit

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
)

func discard() *log.Logger { return log.New(io.Discard, "", 0) }

func pemOf(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}
