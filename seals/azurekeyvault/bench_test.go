package azurekeyvault

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/sealgate/sealgate/seals/sealtest"
)

// BenchmarkWrapUnwrap compares the seal with the bare calls of Azure's client, by turns in the same
// run, on the emulator. What most of the time goes into is the emulator's RSA.
func BenchmarkWrapUnwrap(b *testing.B) {
	p := newPeer(b)
	seal := p.open(b, "wrap")
	o := azcore.ClientOptions{Transport: &http.Client{Transport: seal.transport.Clone()},
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: p.srv.URL + "/"}}
	cred, err := azidentity.NewClientSecretCredential(tenant, app, p.secret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: true})
	must(b, err)
	client, err := azkeys.NewClient(p.srv.URL, cred, &azkeys.ClientOptions{ClientOptions: o,
		DisableChallengeResourceVerification: true})
	must(b, err)
	plain := make([]byte, 32)
	bare := func(int) error {
		r, err := client.WrapKey(b.Context(), "wrap", "", parameters(plain), nil)
		if err != nil {
			return err
		}
		_, err = client.UnwrapKey(b.Context(), "wrap", r.KID.Version(), parameters(r.Result), nil)
		return err
	}
	for _, workers := range []int{1, 16} {
		b.Run(fmt.Sprintf("goroutines=%d", workers), func(b *testing.B) {
			sealtest.Compare(b, workers,
				sealtest.RoundTrip(b, seal), bare)
		})
	}
}
