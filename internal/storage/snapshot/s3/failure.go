package s3

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"

	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/aws/smithy-go"
)

// remedies say what to do, by the code of S3's error.
var remedies = map[string]string{
	"AccessDenied": "allow s3:PutObject, s3:GetObject, s3:DeleteObject, s3:ListBucket and " +
		"s3:AbortMultipartUpload",
	"NoSuchBucket":          "create the bucket, or correct bucket",
	"PermanentRedirect":     "the bucket is in another region: correct region and endpoint",
	"InvalidAccessKeyId":    "correct access_key",
	"SignatureDoesNotMatch": "correct secret_key",
	"ExpiredToken":          "renew the credentials",
	"RequestTimeTooSkewed":  "correct this machine's clock",
	"SlowDown":              "wait: the service throttles",
}

// failure returns an error that shows what failed, why, and what to do. It shows no URL, which may
// have a query, and of an answer its code alone: the service is not trusted with the log.
func failure(doing string, err error) error {
	if err == nil {
		return nil
	}
	var api smithy.APIError
	var answer *smithyhttp.ResponseError
	var address *url.Error
	var dial *net.OpError
	switch {
	case errors.Is(err, errStalled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("s3: %s: the service did not respond in time: %w", doing, context.DeadlineExceeded)
	case errors.As(err, &answer) && redirects(answer.HTTPStatusCode()):
		return fmt.Errorf("s3: %s: the service redirects (status %d), which is not followed; %s", doing,
			answer.HTTPStatusCode(), remedies["PermanentRedirect"])
	case errors.As(err, &api):
		code := fmt.Sprintf("%.60q", api.ErrorCode())
		if remedy := remedies[api.ErrorCode()]; remedy != "" {
			code += "; " + remedy
		}
		err := fmt.Errorf("s3: %s: the service refuses: %s", doing, code)
		if c := api.ErrorCode(); c == "NoSuchKey" || c == "NotFound" {
			err = fmt.Errorf("%w: %w", err, fs.ErrNotExist)
		}
		return err
	case errors.As(err, &answer):
		return fmt.Errorf("s3: %s: the service responds with status %d", doing, answer.HTTPStatusCode())
	case errors.As(err, &dial):
		return fmt.Errorf("s3: %s: the service is unreachable: %w", doing, dial)
	case errors.As(err, &address):
		return fmt.Errorf("s3: %s: %w", doing, address.Err)
	}
	return fmt.Errorf("s3: %s: %w", doing, err)
}

func redirects(status int) bool {
	return status >= http.StatusMultipleChoices && status < http.StatusBadRequest && status != http.StatusNotModified
}
