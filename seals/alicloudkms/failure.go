package alicloudkms

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials/providers"
	sdkerrors "github.com/aliyun/alibaba-cloud-sdk-go/sdk/errors"

	"github.com/sealgate/sealgate/seals"
)

// remedy is what an operator does about a code. https://www.alibabacloud.com/help/en/kms/key-management-service/developer-reference/common-error-codes-1
type remedy struct {
	code  string // part of it
	class seals.Class
	text  string
}

const (
	restore = "restore the stored seal record from a backup"
	permit  = "let the user or the role use the key: kms:Encrypt, kms:Decrypt, kms:DescribeKey"
	correct = "correct the access key, or the role of this instance; an access key in a file is read again at the next call"
	away    = "see whether the service is reachable from this host"
)

// remedies are looked through in this order.
var remedies = []remedy{
	{"Throttl", seals.Throttled, "see which other clients use the service's limit, or wait"},
	{"PendingDeletion", seals.PendingDeletion, "call the key's deletion off: aliyun kms CancelKeyDeletion"},
	{"Disabled", seals.KeyDisabled, "enable the key again: aliyun kms EnableKey"},
	{"AliasNotFound", seals.KeyGone, "correct kms_key_id: there is no such alias in the region"},
	{"KeyNotFound", seals.KeyGone, "correct kms_key_id, region or domain; a key that was deleted cannot be restored"},
	{"InvalidAccessKeyId", seals.Denied, correct},
	{"InvalidSecurityToken", seals.Denied, correct},
	{"SignatureDoesNotMatch", seals.Denied, correct},
	{"IncompleteSignature", seals.Denied, correct},
	{"Timestamp", seals.Denied, "set this host's clock right"},
	{"TimeTooSkewed", seals.Denied, "set this host's clock right"},
	{"Forbidden", seals.Denied, permit},
	{"NoPermission", seals.Denied, permit},
	{"InternalFailure", seals.Unreachable, "see the state of Alibaba Cloud KMS in the region"},
	{"ServiceUnavailable", seals.Unreachable, "see the state of Alibaba Cloud KMS in the region"},
}

// classify makes a failure of an error of the wrapper's. Nothing of the library's texts is quoted but codes: requests carry the
// data key in their URL, and some answers repeat the request.
func (w *Wrapper) classify(operation string, err error) *seals.Failure {
	var f *seals.Failure
	if errors.As(err, &f) {
		return f
	}
	var answer *sdkerrors.ServerError
	if errors.As(err, &answer) {
		return w.refused(operation, answer)
	}
	var network *url.Error
	var client *sdkerrors.ClientError
	switch text := err.Error(); {
	case strings.Contains(text, "message authentication failed"), strings.Contains(text, "failed to create cipher"), strings.Contains(text, "illegal base64"),
		strings.Contains(text, "no key information returned"):
		return seals.Fail(seals.Corrupt, errors.New("what came back fails its authentication"), "%s, or see what stands at domain", restore)
	case strings.Contains(text, "x509: "):
		return seals.Fail(seals.Misconfigured, errors.New("the service's certificate is not trusted"),
			"see which proxy is in between, and add its authority to the system's")
	case errors.As(err, &network):
		return seals.Fail(seals.Unreachable, fmt.Errorf("no answer: %w", network.Err), away)
	case errors.As(err, &client) && client.ErrorCode() == sdkerrors.JsonUnmarshalErrorCode, strings.Contains(text, "nmarshal"):
		return seals.Fail(seals.Corrupt, errors.New("the answer is none of the service's"), "see what stands at domain: a proxy may answer in the service's place")
	case errors.As(err, &client):
		return seals.Fail(seals.Unreachable, fmt.Errorf("no answer: %s", client.ErrorCode()), "%s, and correct region", away)
	case errors.Is(err, providers.ErrNoValidCredentialsFound), strings.Contains(text, "metadata"), strings.Contains(text, "role"):
		return seals.Fail(seals.Denied, errors.New("there are no usable credentials"),
			"set access_key and secret_key, or give this instance a role that may use the key")
	}
	return seals.Fail(seals.Unreachable, errors.New("no answer of the service"), away)
}

// refused is an answer of the service's.
func (w *Wrapper) refused(operation string, answer *sdkerrors.ServerError) *seals.Failure {
	cause := fmt.Errorf("%s with %s in %s: the service answered %d %.100q", operation, w.settings.key, w.settings.region, answer.HttpStatus(), answer.ErrorCode())
	for _, r := range remedies {
		if strings.Contains(answer.ErrorCode(), r.code) {
			return seals.Fail(r.class, cause, "%s", r.text)
		}
	}
	switch code := answer.HttpStatus(); {
	case code == 429:
		return seals.Fail(seals.Throttled, cause, "see which other clients use the service's limit, or wait")
	case code >= 500:
		return seals.Fail(seals.Unreachable, cause, "see the state of Alibaba Cloud KMS in the region")
	case code == 401 || code == 403:
		return seals.Fail(seals.Denied, cause, permit)
	case operation == "decrypt" && code == 400:
		return seals.Fail(seals.Corrupt, cause, restore)
	}
	return seals.Fail(seals.Misconfigured, cause, "see the code in the service's documentation; the key must be one that encrypts")
}
