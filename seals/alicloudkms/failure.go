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

// remedy maps an error code to a class and the operator's action. Source: "Common error codes" in
// the KMS developer reference of Alibaba Cloud.
type remedy struct {
	code  string // substring of the code
	class seals.Class
	text  string
}

const (
	restore = "restore the stored seal record from a backup"
	permit  = "allow the user or role kms:Encrypt, kms:Decrypt and kms:DescribeKey on the key"
	correct = "correct the access key or the role of this instance; an access key in a file is read again at the " +
		"next call"
	reach = "check that the service is reachable from this host"
)

// remedies are searched in this order.
var remedies = []remedy{
	{"Throttl", seals.Throttled, "reduce the load of other clients of the service, or wait"},
	{"PendingDeletion", seals.PendingDeletion, "cancel the key's deletion: aliyun kms CancelKeyDeletion"},
	{"Disabled", seals.KeyDisabled, "enable the key again: aliyun kms EnableKey"},
	{"AliasNotFound", seals.KeyGone, "correct kms_key_id: there is no such alias in the region"},
	{"KeyNotFound", seals.KeyGone, "correct kms_key_id, region or domain; a key that was deleted cannot be restored"},
	{"InvalidAccessKeyId", seals.Denied, correct},
	{"InvalidSecurityToken", seals.Denied, correct},
	{"SignatureDoesNotMatch", seals.Denied, correct},
	{"IncompleteSignature", seals.Denied, correct},
	{"Timestamp", seals.Denied, "correct this host's clock"},
	{"TimeTooSkewed", seals.Denied, "correct this host's clock"},
	{"Forbidden", seals.Denied, permit},
	{"NoPermission", seals.Denied, permit},
	{"InternalFailure", seals.Unreachable, "check the status of Alibaba Cloud KMS in the region"},
	{"ServiceUnavailable", seals.Unreachable, "check the status of Alibaba Cloud KMS in the region"},
}

// classify makes a failure of an error of the wrapper. It quotes only codes of the library's
// errors: requests contain the data key in their URL, and some answers repeat the request.
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
	case strings.Contains(text, "message authentication failed"), strings.Contains(text, "failed to create cipher"),
		strings.Contains(text, "illegal base64"),
		strings.Contains(text, "no key information returned"):
		return seals.Fail(seals.Corrupt, errors.New("the answer fails its authentication"),
			"%s; if it is intact, check domain", restore)
	case strings.Contains(text, "x509: "):
		return seals.Fail(seals.Misconfigured, errors.New("the service's certificate is not trusted"),
			"check for a proxy in between, and add its CA to the system's")
	case errors.As(err, &network):
		return seals.Fail(seals.Unreachable, fmt.Errorf("no answer: %w", network.Err), reach)
	case errors.As(err, &client) && client.ErrorCode() == sdkerrors.JsonUnmarshalErrorCode,
		strings.Contains(text, "nmarshal"):
		return seals.Fail(seals.Corrupt, errors.New("the answer is not one of the service"),
			"check that domain is correct and that no proxy answers in its place")
	case errors.As(err, &client):
		return seals.Fail(seals.Unreachable, fmt.Errorf("no answer: %s", client.ErrorCode()), "%s, and correct region",
			reach)
	case errors.Is(err, providers.ErrNoValidCredentialsFound), strings.Contains(text, "metadata"),
		strings.Contains(text, "role"):
		return seals.Fail(seals.Denied, errors.New("no usable credentials"),
			"set access_key and secret_key, or attach a role that may use the key to this instance")
	}
	return seals.Fail(seals.Unreachable, errors.New("the service did not answer"), reach)
}

// refused classifies an error of the service.
func (w *Wrapper) refused(operation string, answer *sdkerrors.ServerError) *seals.Failure {
	cause := fmt.Errorf("%s with %s in %s: the service answered %d %.100q", operation, w.settings.key,
		w.settings.region, answer.HttpStatus(), answer.ErrorCode())
	for _, r := range remedies {
		if strings.Contains(answer.ErrorCode(), r.code) {
			return seals.Fail(r.class, cause, "%s", r.text)
		}
	}
	switch code := answer.HttpStatus(); {
	case code == 429:
		return seals.Fail(seals.Throttled, cause, "reduce the load of other clients of the service, or wait")
	case code >= 500:
		return seals.Fail(seals.Unreachable, cause, "check the status of Alibaba Cloud KMS in the region")
	case code == 401 || code == 403:
		return seals.Fail(seals.Denied, cause, permit)
	case operation == "decrypt" && code == 400:
		return seals.Fail(seals.Corrupt, cause, restore)
	}
	return seals.Fail(seals.Misconfigured, cause,
		"use an encryption key; the service's documentation explains the code")
}
