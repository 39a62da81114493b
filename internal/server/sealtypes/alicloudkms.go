//go:build !no_alicloudkms

package sealtypes

import (
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/alicloudkms"
)

var newAliCloudKMS seals.Factory = alicloudkms.New
