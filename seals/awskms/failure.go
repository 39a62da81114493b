package awskms

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/sealgate/sealgate/seals"
)

// answer is what an operator does about an error of AWS.
type answer struct {
	class  seals.Class
	remedy string
	codes  []string
}

// answers are found by the code of the error. See "Common errors" and the errors of each action in the AWS KMS API reference.
var answers = []answer{
	{seals.Throttled, "wait, or ask AWS for a higher request quota of KMS in this account and region",
		[]string{"ThrottlingException", "Throttling", "ThrottledException", "RequestThrottled", "RequestThrottledException",
			"TooManyRequestsException", "RequestLimitExceeded", "LimitExceededException", "BandwidthLimitExceeded", "PriorRequestNotComplete"}},
	{seals.Denied, "replace the credentials; they are read again as soon as they have changed, without a restart",
		[]string{"ExpiredTokenException", "ExpiredToken", "InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId",
			"MissingAuthenticationToken", "MissingAuthenticationTokenException", "InvalidIdentityToken"}},
	{seals.Denied, "set this machine's clock right, and see whether secret_key fits access_key",
		[]string{"RequestExpired", "SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature", "RequestTimeTooSkewed"}},
	{seals.Denied, "allow kms:Encrypt and kms:Decrypt, and kms:DescribeKey, to these credentials: in the key's policy, in their IAM policy, " +
		"and in the policies of the organisation and of the VPC endpoint",
		[]string{"AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "NotAuthorized", "OptInRequired"}},
	{seals.KeyDisabled, "enable the key: aws kms enable-key --key-id %[1]s", []string{"DisabledException"}},
	{seals.KeyGone, "correct kms_key_id and region, or give the ARN if the key is another account's; AWS cannot bring a destroyed key back",
		[]string{"NotFoundException"}},
	{seals.Corrupt, "restore the stored record from a backup; " +
		"AWS says the same of a blob that was wrapped for another cluster, seal or generation",
		[]string{"InvalidCiphertextException"}},
	{seals.WrongKey, "set kms_key_id to the key that encrypted", []string{"IncorrectKeyException"}},
	{seals.Misconfigured, "name a symmetric key for encryption (KeySpec SYMMETRIC_DEFAULT, KeyUsage ENCRYPT_DECRYPT) in this region",
		[]string{"InvalidKeyUsageException", "UnsupportedOperationException", "ValidationException", "ValidationError", "InvalidArnException",
			"InvalidParameterValue", "MalformedQueryString", "InvalidAction", "UnknownOperationException"}},
	{seals.Unreachable, "see AWS's health page for KMS in this region, and the key's own key store if it has one; it is tried again",
		[]string{"KMSInternalException", "KeyUnavailableException", "DependencyTimeoutException", "InternalFailure", "InternalServerError",
			"InternalError", "ServiceUnavailable", "ServiceUnavailableException", "RequestTimeout", "RequestTimeoutException"}},
}

// stale are the codes that other credentials, or the same ones renewed, may cure.
var stale = append(slices.Clone(answers[1].codes), "SignatureDoesNotMatch", "InvalidSignatureException", "RequestExpired")

// code is AWS's code of an error, "" where AWS did not answer.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// failure classifies an error of a call to AWS.
func (w *Wrapper) failure(ctx context.Context, doing, key string, err error) error {
	var known *seals.Failure
	if errors.As(err, &known) {
		f := *known
		f.Err = w.caused(doing, known.Err)
		return &f
	}
	cause := w.caused(doing, brief(err))
	c := code(err)
	for _, a := range answers {
		if slices.Contains(a.codes, c) {
			return seals.Fail(a.class, cause, "%s", strings.ReplaceAll(a.remedy, "%[1]s", key))
		}
	}
	if c == "KMSInvalidStateException" && doing != "describe" {
		return w.badState(ctx, key, cause)
	}
	if ctx.Err() != nil {
		return seals.Fail(seals.Unreachable, fmt.Errorf("%w: %w", cause, ctx.Err()),
			"see whether the KMS's endpoint answers, and whether this host reaches it: proxy, VPC endpoint, security groups")
	}
	return noAnswer(cause)
}

// noAnswer classifies an error that does not come from AWS, or has no code.
func noAnswer(cause error) error {
	var garbled *smithy.DeserializationError
	var status *smithyhttp.ResponseError
	has := errors.As(cause, &status)
	switch {
	case has && status.HTTPStatusCode() == 429:
		return seals.Fail(seals.Throttled, cause, "%s", answers[0].remedy)
	case has && status.HTTPStatusCode() >= 300 && status.HTTPStatusCode() < 500:
		return seals.Fail(seals.Misconfigured, cause, "see whether endpoint is that of a KMS: something else seems to have answered")
	case errors.As(cause, &garbled) && (!has || status.HTTPStatusCode() == 200):
		return seals.Fail(seals.Corrupt, cause, "see whether endpoint is that of AWS KMS, and what stands in between: the answer cannot be read")
	case strings.Contains(cause.Error(), "endpoint rule error"), strings.Contains(cause.Error(), "Invalid Configuration"):
		return seals.Fail(seals.Misconfigured, cause,
			"correct region, endpoint, use_fips_endpoint and use_dual_stack_endpoint: AWS has no such endpoint")
	}
	return seals.Fail(seals.Unreachable, cause, "see whether this host resolves and reaches the KMS's endpoint: DNS, proxy, VPC endpoint, TLS")
}

// badState tells the states apart that AWS has one code for. The date of a deletion costs a request, which only this failure makes.
func (w *Wrapper) badState(ctx context.Context, key string, cause error) error {
	state, err := w.Describe(ctx)
	if err != nil || state.State == "" {
		// AWS's text is all there is: "... is pending deletion.", "... is pending import."
		switch text := strings.ToLower(cause.Error()); {
		case strings.Contains(text, "deletion"):
			state.State = statePending
		case strings.Contains(text, "import"):
			state.State = "pending import"
		default:
			state.State = "unavailable"
		}
	}
	switch state.State {
	case statePending:
		when := "at a date that these credentials may not ask for (kms:DescribeKey)"
		if !state.DeletionDate.IsZero() {
			when = "at " + state.DeletionDate.UTC().Format("2006-01-02 15:04 MST")
			cause = fmt.Errorf("%w: it will be destroyed %s", cause, when)
		}
		return seals.Fail(seals.PendingDeletion, cause, "the key will be destroyed %s, and everything under it is lost then; "+
			"at once: aws kms cancel-key-deletion --key-id %s, then aws kms enable-key", when, key)
	case "disabled", "pending import":
		return seals.Fail(seals.KeyDisabled, cause, "enable the key, or import its material again")
	}
	return seals.Fail(seals.Unreachable, cause, "see the state of the key (aws kms describe-key) and of its key store")
}

func (w *Wrapper) caused(doing string, err error) error {
	return fmt.Errorf("seal \"awskms\" %q: %s: %w", w.set.name, doing, err)
}

// refusal is an error of AWS without what the SDK wraps around it; the code and the request's id stay.
type refusal struct {
	text string
	err  error
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.err }

func brief(err error) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return err
	}
	text := "AWS answers " + api.ErrorCode()
	if m := api.ErrorMessage(); m != "" {
		text += ": " + m
	}
	var id interface{ ServiceRequestID() string }
	if errors.As(err, &id) && id.ServiceRequestID() != "" {
		text += " (request " + id.ServiceRequestID() + ")"
	}
	return &refusal{fmt.Sprintf("%.600s", text), err}
}

func misconfigured(name string, err error) error {
	var f *seals.Failure
	if errors.As(err, &f) {
		return f
	}
	return seals.Fail(seals.Misconfigured, fmt.Errorf("seal \"awskms\" %q: %w", name, err), "correct the stanza or the environment variable")
}
