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

// remedies are what each status means to an operator; FAILED_PRECONDITION and INVALID_ARGUMENT have functions of their own.
var remedies = map[codes.Code]struct {
	class seals.Class
	text  string
}{
	codes.Unavailable:      {seals.Unreachable, "see whether this host reaches the service, and status.cloud.google.com; it is tried again"},
	codes.DeadlineExceeded: {seals.Unreachable, "see whether this host reaches the service; raise timeout if it is only slow"},
	codes.Canceled:         {seals.Unreachable, "the request was given up before the service answered; try again"},
	codes.Internal:         {seals.Unreachable, "see status.cloud.google.com; it is tried again"},
	codes.Aborted:          {seals.Unreachable, "it is tried again"},
	codes.DataLoss:         {seals.Corrupt, "restore the stored seal record from a backup"},
	codes.ResourceExhausted: {seals.Throttled, "see the quotas of Cloud KMS of the project that calls, and what else uses them up; " +
		"it is tried again, slower"},
	codes.Unauthenticated: {seals.Denied, "have a new key made for the service account and put it in the place of the old one; " +
		"see that the machine's clock is right; the credentials are read again at the next call"},
	codes.PermissionDenied: {seals.Denied, "give the account roles/cloudkms.cryptoKeyEncrypterDecrypter on the key, or correct project, region, " +
		"key_ring and crypto_key: Google does not tell a missing key from a forbidden one"},
	codes.NotFound: {seals.KeyGone, "correct project, region, key_ring and crypto_key; a key that was deleted does not come back: " +
		"use another seal or a backup"},
	codes.Unimplemented: {seals.Misconfigured, "correct endpoint: what answers there is not Cloud KMS"},
	codes.OutOfRange:    {seals.Misconfigured, "a seal encrypts keys, not data"},
}

// reasons are what Google gives as the reason of PERMISSION_DENIED where no role helps. Source: cloud.google.com/apis/design/errors#error_info.
var reasons = map[string]string{
	"SERVICE_DISABLED": "enable the Cloud Key Management Service API in the project of the account: " +
		"gcloud services enable cloudkms.googleapis.com",
	"BILLING_DISABLED":                "enable billing for the project: Cloud KMS serves no key of one without",
	"ACCESS_TOKEN_SCOPE_INSUFFICIENT": "give the machine or the credentials the scope " + scope,
	"CONSUMER_INVALID":                "correct project: there is none of this name",
}

// fail is a failure that names the seal.
func (w *Wrapper) fail(c seals.Class, err error, remedy string, args ...any) *seals.Failure {
	return seals.Fail(c, fmt.Errorf("seal \"gcpckms\" %q: %w", w.name, err), remedy, args...)
}

// failure classifies what a call ended with. version is that of the blob to decrypt, 0 to encrypt.
func (w *Wrapper) failure(ctx context.Context, op string, err error, version uint64) error {
	var f *seals.Failure
	switch {
	case errors.As(err, &f):
		return w.fail(f.Class, f.Err, "%s", f.Remedy)
	case errors.Is(err, errClosed) || w.conn.life.Err() != nil:
		return w.fail(seals.Unreachable, errClosed, "nothing has to be done")
	case errors.Is(err, errIntegrity):
		return w.fail(seals.Corrupt, err, "see what stands between this host and the service and changes data; "+
			"if nothing does, report it to Google")
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
		return w.fail(seals.Misconfigured, cause, "set tls_ca_cert to the certificate that the endpoint is trusted by, and endpoint to a name in it; "+
			"see that the machine's clock is right")
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
		return w.fail(r.class, cause, "%s", r.text)
	}
	return seals.Classify(fmt.Errorf("seal \"gcpckms\" %q: %w", w.name, cause))
}

// reason is the machine-readable one of a status.
func reason(st *status.Status) string {
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

// untrusted reports whether no connection was made because of the server's certificate. gRPC has a text for that and no code.
func untrusted(st *status.Status) bool {
	return st.Code() == codes.Unavailable && strings.Contains(st.Message(), "authentication handshake failed") &&
		strings.Contains(st.Message(), "certificate")
}

// mismatched reports whether the service found that a request was damaged on its way.
func mismatched(err error) bool {
	st, ok := status.FromError(err)
	return ok && st.Code() == codes.InvalidArgument && strings.Contains(st.Message(), "checksum")
}

// argument: source: cloud.google.com/kms/docs/additional-authenticated-data and the texts of the service: what does not authenticate, and what
// another key made, is an invalid argument of Decrypt.
func (w *Wrapper) argument(op string, st *status.Status, cause error) error {
	switch {
	case mismatched(st.Err()):
		return w.fail(seals.Corrupt, cause, "see what stands between this host and the service and changes data")
	case op == "decrypt":
		return w.fail(seals.Corrupt, cause, "restore the stored seal record from a backup; it was changed, or it is not of this key, seal or cluster")
	}
	return w.fail(seals.Misconfigured, cause, "correct project, region, key_ring and crypto_key")
}

// stateWords finds the states of versions, and the purposes of keys, in Google's texts.
var stateWords = regexp.MustCompile(`\b(DISABLED|DESTROY_SCHEDULED|DESTROYED|PENDING_GENERATION|PENDING_IMPORT|IMPORT_FAILED|GENERATION_FAILED|` +
	`PENDING_EXTERNAL_DESTRUCTION|EXTERNAL_DESTRUCTION_FAILED)\b`)

// precondition tells the state that the key is in: by the service's own text, else by a question, if the credentials may ask.
func (w *Wrapper) precondition(ctx context.Context, st *status.Status, cause error, version uint64) error {
	if strings.Contains(st.Message(), "crypto_key.purpose") {
		return w.fail(seals.Misconfigured, cause, "name a key with the purpose ENCRYPT_DECRYPT")
	}
	word := stateWords.FindString(st.Message())
	if n, ok := w.version(firstField(st.Message())); ok {
		version = n
	}
	var found *kmspb.CryptoKeyVersion
	if word == "" || word == "DESTROY_SCHEDULED" {
		if found = w.ask(ctx, version); found != nil && word == "" {
			word = found.GetState().String() // a state that the service told of itself is newer than what it shows
		}
	}
	return w.unusable(word, version, found.GetDestroyTime(), cause)
}

func firstField(s string) string {
	first, _, _ := strings.Cut(s, " ")
	return first
}

// unusable classifies a version by its state. destroy is nil where it is not known.
func (w *Wrapper) unusable(state string, version uint64, destroy *timestamppb.Timestamp, cause error) error {
	what := fmt.Sprintf("%d --key=%s --keyring=%s --location=%s --project=%s", version, w.s.key, w.s.ring, w.s.region, w.s.project)
	if version == 0 {
		what = strings.Replace(what, "0 ", "VERSION ", 1)
	}
	switch state {
	case "DESTROY_SCHEDULED", "PENDING_EXTERNAL_DESTRUCTION":
		if destroy != nil {
			cause = fmt.Errorf("%w; it will be destroyed at %s", cause, destroy.AsTime().UTC().Format(time.RFC3339))
		}
		return w.fail(seals.PendingDeletion, cause, "before that: gcloud kms keys versions restore %s, "+
			"then gcloud kms keys versions enable ...", what)
	case "DESTROYED", "IMPORT_FAILED", "GENERATION_FAILED", "EXTERNAL_DESTRUCTION_FAILED":
		return w.fail(seals.KeyGone, cause, "make another version the primary one to encrypt; what this one encrypted is lost: "+
			"use another seal or a backup")
	case "PENDING_GENERATION", "PENDING_IMPORT":
		return w.fail(seals.KeyDisabled, cause, "wait until the version is made or imported")
	case "DISABLED":
		return w.fail(seals.KeyDisabled, cause, "gcloud kms keys versions enable %s", what)
	}
	return w.fail(seals.KeyDisabled, cause, "see the state of the key and of its versions: gcloud kms keys versions list --key=%s --keyring=%s "+
		"--location=%s --project=%s; enable the one that is needed, and have a primary version", w.s.key, w.s.ring, w.s.region, w.s.project)
}
