//go:build !no_awskms

package sealtypes

import (
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/awskms"
)

var newAWSKMS seals.Factory = awskms.New
