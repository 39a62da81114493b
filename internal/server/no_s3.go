//go:build no_s3

package server

import (
	"errors"

	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/storage/snapshot/target"
)

func newS3(*config.S3, func(string) string) (target.Target, error) {
	return nil, errors.New("this program was built without S3 (tag no_s3): use path, or a complete build")
}
