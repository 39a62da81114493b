package gcpckms

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sealgate/sealgate/seals"
)

// remedies map a status to a class and the operator's action. FAILED_PRECONDITION and
// INVALID_ARGUMENT have functions of their own.
var remedies = map[codes.Code]struct {
	class seals.Class
	text  string
}{
	codes.Unavailable: {seals.Unreachable,
		"check that this host reaches the service, and status.cloud.google.com; the call is retried"},
	codes.DeadlineExceeded: {seals.Unreachable,
		"check that this host reaches the service; raise timeout if it is only slow"},
	codes.Canceled: {seals.Unreachable, "the request was cancelled before the service answered; try again"},
	codes.Internal: {seals.Unreachable, "check status.cloud.google.com; the call is retried"},
	codes.Aborted:  {seals.Unreachable, "no action is needed; the call is retried"},
	codes.DataLoss: {seals.Corrupt, "restore the stored seal record from a backup"},
	codes.ResourceExhausted: {seals.Throttled,
		"check the Cloud KMS quotas of the calling project and what else uses them; " +
			"the call is retried more slowly"},
	codes.Unauthenticated: {seals.Denied, "create a new key of the service account and replace the old one; " +
		"check the machine's clock; the credentials are read again at the next call"},
	codes.PermissionDenied: {seals.Denied,
		"grant the account roles/cloudkms.cryptoKeyEncrypterDecrypter on the key, or correct " +
			"project, region, key_ring and crypto_key: Google answers a missing and a forbidden key alike"},
	codes.NotFound: {seals.KeyGone, "correct project, region, key_ring and crypto_key; a deleted key cannot be " +
		"restored: " +
		"use another seal or a backup"},
	codes.Unimplemented: {seals.Misconfigured, "correct endpoint: the service there is not Cloud KMS"},
	codes.OutOfRange:    {seals.Misconfigured, "use the seal for keys, not for data"},
}

// reasons map Google's reasons of PERMISSION_DENIED that no role resolves to a remedy. Source:
// cloud.google.com/apis/design/errors#error_info.
var reasons = map[string]string{
	"SERVICE_DISABLED": "enable the Cloud Key Management Service API in the project of the account: " +
		"gcloud services enable cloudkms.googleapis.com",
	"BILLING_DISABLED":                "enable billing for the project, which Cloud KMS requires",
	"ACCESS_TOKEN_SCOPE_INSUFFICIENT": "add the scope " + scope + " to the machine or the credentials",
	"CONSUMER_INVALID":                "correct project: no project has this name",
}

// fail returns a failure that names the seal.
func (w *Wrapper) fail(c seals.Class, err error, remedy string, args ...any) *seals.Failure {
	return seals.Fail(c, fmt.Errorf("seal \"gcpckms\" %q: %w", w.name, err), remedy, args...)
}

// failure classifies the error of a call. version is that of the blob to decrypt, 0 for other
// calls.
func (w *Wrapper) failure(ctx context.Context, op string, err error, version uint64) error {
	var f *seals.Failure
	switch {
	case errors.As(err, &f):
		return w.fail(f.Class, f.Err, "%s", f.Remedy)
	case errors.Is(err, errClosed) || w.conn.life.Err() != nil:
		return w.fail(seals.Unreachable, errClosed, "no action is needed")
	case errors.Is(err, errIntegrity):
		return w.fail(seals.Corrupt, err, "%s", w.remedy("check that no proxy between this host and the service "+
			"changes data; otherwise report it to Google"))
	case errors.Is(err, context.Canceled):
		return w.fail(seals.Unreachable, err, "%s", remedies[codes.Canceled].text)
	case errors.Is(err, context.DeadlineExceeded):
		return w.fail(seals.Unreachable, err, "%s", remedies[codes.DeadlineExceeded].text)
	}
	st, ok := status.FromError(err)
	if !ok {
		return seals.Classify(fmt.Errorf("seal \"gcpckms\" %q: %w", w.name, err))
	}
	cause := fmt.Errorf("%s: %.500s", st.Code(), st.Message())
	if untrusted(st) {
		return w.fail(seals.Misconfigured, cause,
			"set tls_ca_cert to the CA of the endpoint's certificate, and endpoint to a name in the certificate; "+
				"check the machine's clock")
	}
	switch st.Code() {
	case codes.FailedPrecondition:
		return w.precondition(ctx, st, cause, version)
	case codes.InvalidArgument:
		return w.argument(op, st, cause)
	case codes.PermissionDenied, codes.Unauthenticated:
		if text := reasons[reason(st)]; text != "" {
			return w.fail(seals.Denied, cause, "%s", text)
		}
	}
	if r, known := remedies[st.Code()]; known {
		return w.fail(r.class, cause, "%s", w.remedy(r.text))
	}
	return seals.Classify(fmt.Errorf("seal \"gcpckms\" %q: %w", w.name, cause))
}

// remedy leaves Google's own pages out where the endpoint is another server.
func (w *Wrapper) remedy(text string) string {
	if w.s.endpoint == "" || strings.Contains(w.s.endpoint, "googleapis.com") {
		return text
	}
	if strings.Contains(text, "status.cloud.google.com") || strings.Contains(text, "report it to Google") {
		return "check that this host reaches the server at " + w.s.endpoint +
			" and that the server works; the call is retried"
	}
	return strings.ReplaceAll(text, "Google answers", "the service answers")
}

// reason returns the machine-readable reason of a status.
func reason(st *status.Status) string {
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

// untrusted reports whether the server's certificate was refused. gRPC has no code for that, only a
// text.
func untrusted(st *status.Status) bool {
	return st.Code() == codes.Unavailable && strings.Contains(st.Message(), "authentication handshake failed") &&
		strings.Contains(st.Message(), "certificate")
}

// mismatched reports whether the service received a damaged request.
func mismatched(err error) bool {
	st, ok := status.FromError(err)
	return ok && st.Code() == codes.InvalidArgument && strings.Contains(st.Message(), "checksum")
}

// argument classifies INVALID_ARGUMENT. Decrypt returns it for a ciphertext that does not
// authenticate or is of another key. Source:
// cloud.google.com/kms/docs/additional-authenticated-data.
func (w *Wrapper) argument(op string, st *status.Status, cause error) error {
	switch {
	case mismatched(st.Err()):
		return w.fail(seals.Corrupt, cause, "check that no proxy between this host and the service changes data")
	case op == "decrypt":
		return w.fail(seals.Corrupt, cause,
			"restore the stored seal record from a backup; it was changed, or belongs to another key, seal or cluster")
	}
	return w.fail(seals.Misconfigured, cause, "correct project, region, key_ring and crypto_key")
}

// stateWords finds the state of a version in Google's texts.
var stateWords = regexp.MustCompile(`\b(DISABLED|DESTROY_SCHEDULED|DESTROYED|PENDING_GENERATION|PENDING_IMPORT|` +
	`IMPORT_FAILED|GENERATION_FAILED|` +
	`PENDING_EXTERNAL_DESTRUCTION|EXTERNAL_DESTRUCTION_FAILED)\b`)

// precondition classifies FAILED_PRECONDITION by the state of the version: from the text of the
// answer, else by a request, if the credentials may make it.
func (w *Wrapper) precondition(ctx context.Context, st *status.Status, cause error, version uint64) error {
	if strings.Contains(st.Message(), "crypto_key.purpose") {
		return w.fail(seals.Misconfigured, cause, "use a key with the purpose ENCRYPT_DECRYPT")
	}
	word := stateWords.FindString(st.Message())
	if n, ok := w.version(firstField(st.Message())); ok {
		version = n
	}
	var found *kmspb.CryptoKeyVersion
	if word == "" || word == "DESTROY_SCHEDULED" {
		if found = w.ask(ctx, version); found != nil && word == "" {
			word = found.GetState().String() // the state in an answer is newer than the one that is read
		}
	}
	return w.unusable(word, version, found.GetDestroyTime(), cause)
}

func firstField(s string) string {
	first, _, _ := strings.Cut(s, " ")
	return first
}

// unusable classifies a version by its state. destroy is nil where it is unknown.
func (w *Wrapper) unusable(state string, version uint64, destroy *timestamppb.Timestamp, cause error) error {
	what := fmt.Sprintf("%d --key=%s --keyring=%s --location=%s --project=%s", version, w.s.key, w.s.ring, w.s.region,
		w.s.project)
	if version == 0 {
		what = strings.Replace(what, "0 ", "VERSION ", 1)
	}
	switch state {
	case "DESTROY_SCHEDULED", "PENDING_EXTERNAL_DESTRUCTION":
		if destroy != nil {
			cause = fmt.Errorf("%w; it will be destroyed at %s", cause, destroy.AsTime().UTC().Format(time.RFC3339))
		}
		return w.fail(seals.PendingDeletion, cause, "cancel the destruction now: gcloud kms keys versions restore %s, "+
			"then gcloud kms keys versions enable %[1]s", what)
	case "DESTROYED", "IMPORT_FAILED", "GENERATION_FAILED", "EXTERNAL_DESTRUCTION_FAILED":
		return w.fail(seals.KeyGone, cause,
			"set another primary version to encrypt; what this version encrypted is lost: "+
				"use another seal or a backup")
	case "PENDING_GENERATION", "PENDING_IMPORT":
		return w.fail(seals.KeyDisabled, cause, "wait until the version is generated or imported")
	case "DISABLED":
		return w.fail(seals.KeyDisabled, cause, "enable the version: gcloud kms keys versions enable %s", what)
	}
	return w.fail(seals.KeyDisabled, cause,
		"check the versions of the key: gcloud kms keys versions list --key=%s --keyring=%s "+
			"--location=%s --project=%s; enable the one that is needed, and set a primary version", w.s.key, w.s.ring,
		w.s.region, w.s.project)
}
