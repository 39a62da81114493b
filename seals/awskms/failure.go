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

// answer maps error codes of AWS to a class and a remedy.
type answer struct {
	class  seals.Class
	remedy string
	codes  []string
}

// Source: "Common errors" and the errors of each action in the AWS KMS API reference.
var answers = []answer{
	{seals.Throttled, "wait, or ask AWS for a higher request quota of KMS in this account and region",
		[]string{"ThrottlingException", "Throttling", "ThrottledException", "RequestThrottled",
			"RequestThrottledException",
			"TooManyRequestsException", "RequestLimitExceeded", "LimitExceededException", "BandwidthLimitExceeded",
			"PriorRequestNotComplete"}},
	{seals.Denied, "replace the credentials; they are read again as soon as they have changed, without a restart",
		[]string{"ExpiredTokenException", "ExpiredToken", "InvalidClientTokenId", "UnrecognizedClientException",
			"InvalidAccessKeyId",
			"MissingAuthenticationToken", "MissingAuthenticationTokenException", "InvalidIdentityToken"}},
	{seals.Denied, "correct this machine's clock, and check that secret_key belongs to access_key",
		[]string{"RequestExpired", "SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature",
			"RequestTimeTooSkewed"}},
	{seals.Denied, "allow these credentials kms:Encrypt, kms:Decrypt and kms:DescribeKey in the key policy, in " +
		"their IAM policy, " +
		"and in the policies of the organization and the VPC endpoint",
		[]string{"AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "NotAuthorized", "OptInRequired"}},
	{seals.KeyDisabled, "enable the key: aws kms enable-key --key-id %[1]s", []string{"DisabledException"}},
	{seals.KeyGone, "correct kms_key_id and region, or set kms_key_id to the ARN if the key belongs to another " +
		"account; " +
		"AWS cannot restore a destroyed key",
		[]string{"NotFoundException"}},
	{seals.Corrupt, "restore the stored record from a backup; " +
		"AWS returns the same error for a blob that was wrapped for another cluster, seal or generation",
		[]string{"InvalidCiphertextException"}},
	{seals.WrongKey, "set kms_key_id to the key that encrypted the blob", []string{"IncorrectKeyException"}},
	{seals.Misconfigured, "use a symmetric encryption key (KeySpec SYMMETRIC_DEFAULT, KeyUsage ENCRYPT_DECRYPT) in " +
		"this region",
		[]string{"InvalidKeyUsageException", "UnsupportedOperationException", "ValidationException", "ValidationError",
			"InvalidArnException",
			"InvalidParameterValue", "MalformedQueryString", "InvalidAction", "UnknownOperationException"}},
	{seals.Unreachable, "check AWS's health page for KMS in this region, and the key's custom key store if it has " +
		"one; the call is retried",
		[]string{"KMSInternalException", "KeyUnavailableException", "DependencyTimeoutException", "InternalFailure",
			"InternalServerError",
			"InternalError", "ServiceUnavailable", "ServiceUnavailableException", "RequestTimeout",
			"RequestTimeoutException"}},
}

// stale are the codes that renewed credentials may resolve.
var stale = append(slices.Clone(answers[1].codes), "SignatureDoesNotMatch", "InvalidSignatureException",
	"RequestExpired")

// code returns AWS's code of an error, "" where AWS did not answer.
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
			return seals.Fail(a.class, cause, "%s", w.remedy(strings.ReplaceAll(a.remedy, "%[1]s", key)))
		}
	}
	if c == "KMSInvalidStateException" && doing != "describe" {
		return w.badState(ctx, key, cause)
	}
	if ctx.Err() != nil {
		return seals.Fail(seals.Unreachable, fmt.Errorf("%w: %w", cause, ctx.Err()),
			"check that the KMS endpoint answers and that this host reaches it: proxy, VPC endpoint, security groups")
	}
	return noAnswer(cause)
}

// checkEndpoint is the remedy for an answer that is not one of AWS KMS.
const checkEndpoint = "check that endpoint is that of AWS KMS and that no proxy changes its answers"

// remedy leaves AWS's own pages out where the endpoint is not one of AWS.
func (w *Wrapper) remedy(text string) string {
	if w.set.endpoint == "" || strings.Contains(w.set.endpoint, ".amazonaws.com") ||
		!strings.Contains(text, "health page") {
		return text
	}
	return "check the service at " + w.set.endpoint + "; the call is retried"
}

// noAnswer classifies an error without a code of AWS.
func noAnswer(cause error) error {
	var garbled *smithy.DeserializationError
	var status *smithyhttp.ResponseError
	has := errors.As(cause, &status)
	switch {
	case has && status.HTTPStatusCode() == 429:
		return seals.Fail(seals.Throttled, cause, "%s", answers[0].remedy)
	case has && status.HTTPStatusCode() >= 300 && status.HTTPStatusCode() < 500:
		return seals.Fail(seals.Misconfigured, cause, "check that endpoint is that of a KMS: another service answered")
	case errors.As(cause, &garbled) && (!has || status.HTTPStatusCode() == 200):
		return seals.Fail(seals.Corrupt, cause, "%s", checkEndpoint)
	case strings.Contains(cause.Error(), "endpoint rule error"),
		strings.Contains(cause.Error(), "Invalid Configuration"):
		return seals.Fail(seals.Misconfigured, cause,
			"correct region, endpoint, use_fips_endpoint and use_dual_stack_endpoint: AWS has no such endpoint")
	}
	return seals.Fail(seals.Unreachable, cause,
		"check that this host resolves and reaches the KMS endpoint: DNS, proxy, VPC endpoint, TLS")
}

// badState distinguishes key states for which AWS has one code. It costs a request, also for the
// date of a deletion.
func (w *Wrapper) badState(ctx context.Context, key string, cause error) error {
	state, err := w.Describe(ctx)
	if err != nil || state.State == "" {
		// Only the text distinguishes them: "... is pending deletion.", "... is pending import."
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
		when := "at a date that needs kms:DescribeKey to read"
		if !state.DeletionDate.IsZero() {
			when = "at " + state.DeletionDate.UTC().Format("2006-01-02 15:04 MST")
			cause = fmt.Errorf("%w: it will be destroyed %s", cause, when)
		}
		return seals.Fail(seals.PendingDeletion, cause,
			"cancel the deletion now: aws kms cancel-key-deletion --key-id %s, "+
				"then aws kms enable-key; the key will be destroyed %s, and what it wrapped is lost then", key, when)
	case "disabled", "pending import":
		return seals.Fail(seals.KeyDisabled, cause,
			"enable the key (aws kms enable-key --key-id %s), or import its material again", key)
	}
	return seals.Fail(seals.Unreachable, cause,
		"check the state of the key (aws kms describe-key --key-id %s) and of its key store", key)
}

func (w *Wrapper) caused(doing string, err error) error {
	return fmt.Errorf("seal \"awskms\" %q%s: %s: %w", w.set.name, w.place(), doing, err)
}

// place names the region, and where it comes from.
func (w *Wrapper) place() string {
	region := w.conn.where()
	switch {
	case w.set.region != "" && w.set.regionFrom != "":
		return fmt.Sprintf(" in region %s (from %s)", w.set.region, w.set.regionFrom)
	case region != "":
		return fmt.Sprintf(" in region %s (from the profile or the client)", region)
	}
	return ""
}

// refusal shortens an error of AWS to its code, message and request id.
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
