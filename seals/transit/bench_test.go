//go:build unix

package transit

import (
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/openbao/openbao/api/v2"

	"github.com/sealgate/sealgate/internal/testkit/openbao"
	"github.com/sealgate/sealgate/seals/sealtest"
)

// BenchmarkWrapUnwrap compares the seal with the bare calls of OpenBao's client, alternately in
// the same run, on a real server without TLS.
func BenchmarkWrapUnwrap(b *testing.B) {
	bao := openbao.Start(b)
	p := newPlace(b, bao)
	f := &front{}
	f.Server = newFront(b, bao.Addr).Server
	seal := p.open(b, f, "wrap", "address", "http://"+bao.Addr, "tls_ca_cert", "")
	c := api.NewConfig()
	c.Address = "http://" + bao.Addr
	client, err := api.NewClient(c)
	must(b, err)
	client.SetToken(p.token)
	plain := base64.StdEncoding.EncodeToString(make([]byte, 32))
	data := base64.StdEncoding.EncodeToString([]byte("additional data"))
	bare := func(int) error {
		s, err := client.Logical().WriteWithContext(b.Context(), p.mount+"/encrypt/wrap",
			map[string]any{"plaintext": plain, "associated_data": data})
		if err != nil {
			return err
		}
		_, err = client.Logical().WriteWithContext(b.Context(), p.mount+"/decrypt/wrap",
			map[string]any{"ciphertext": s.Data["ciphertext"], "associated_data": data})
		return err
	}
	for _, workers := range []int{1, 16} {
		b.Run(fmt.Sprintf("goroutines=%d", workers), func(b *testing.B) {
			sealtest.Compare(b, workers,
				sealtest.RoundTrip(b, seal), bare)
		})
	}
}
