package outside

import (
	"context"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/alicloudkms"
	"github.com/sealgate/sealgate/seals/awskms"
	"github.com/sealgate/sealgate/seals/azurekeyvault"
	"github.com/sealgate/sealgate/seals/gcpckms"
	"github.com/sealgate/sealgate/seals/ocikms"
	"github.com/sealgate/sealgate/seals/shamir"
	"github.com/sealgate/sealgate/seals/static"
	"github.com/sealgate/sealgate/seals/transit"
)

// Providers are the constructors of seals, each of a wrapping.Wrapper.
var Providers = []seals.Factory{
	alicloudkms.New, awskms.New, azurekeyvault.New, gcpckms.New, ocikms.New, shamir.New, static.New, transit.New,
}

// AWS makes a seal with a KMS client of the caller's.
func AWS(client awskms.API) (wrapping.Wrapper, error) {
	return awskms.NewWithClient("main", "alias/app", client)
}

// WrapRootKey wraps a root key by a set of seals and unwraps it again.
func WrapRootKey(ctx context.Context, w wrapping.Wrapper, key []byte) (*seals.Secret, error) {
	set, err := seals.NewSet([]seals.Seal{{Name: "main", Type: "static", Wrapper: w}}, seals.Options{})
	if err != nil {
		return nil, err
	}
	defer set.Close()
	root := seals.NewSecret(key)
	defer root.Destroy()
	record, err := set.Wrap(ctx, "cluster", 1, root, nil, nil)
	if err != nil {
		return nil, err
	}
	if err := record.Authenticate(root, seals.RecordKeys{}); err != nil {
		return nil, err
	}
	return set.Unwrap(ctx, record, nil)
}
