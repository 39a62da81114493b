//go:build !no_s3

package server

import (
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/storage/snapshot/s3"
	"github.com/sealgate/sealgate/internal/storage/snapshot/target"
	"github.com/sealgate/sealgate/seals"
)

// newS3 makes a bucket of S3 a target.
func newS3(c *config.S3, getenv func(string) string) (target.Target, error) {
	o := s3.Options{Bucket: c.Bucket, Prefix: c.Prefix, Region: c.Region, Endpoint: c.Endpoint, PathStyle: c.PathStyle,
		CAFile: c.CAFile}
	if len(c.Credentials) > 0 {
		o.Keys = func() (k s3.Keys, err error) {
			for name, to := range map[string]*string{
				"access_key": &k.ID, "secret_key": &k.Secret, "session_token": &k.Session,
			} {
				if c.Credentials[name] == "" {
					continue
				}
				v, err := seals.ResolveSecret(c.Credentials[name], getenv)
				if err != nil {
					return k, err
				}
				*to = string(v.Expose()) // the SDK takes strings
				v.Destroy()
			}
			return k, nil
		}
	}
	return s3.New(o)
}
