package awskms

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/sealgate/sealgate/seals"
)

// fake is a KMS with scripted answers.
type fake struct {
	mu       sync.Mutex
	asked    []string
	encrypt  func(*kms.EncryptInput) (*kms.EncryptOutput, error)
	decrypt  func(*kms.DecryptInput) (*kms.DecryptOutput, error)
	describe func(*kms.DescribeKeyInput) (*kms.DescribeKeyOutput, error)
	rotation func(*kms.GetKeyRotationStatusInput) (*kms.GetKeyRotationStatusOutput, error)
}

func (f *fake) note(action string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, action)
}

// since returns the calls since the last call of since.
func (f *fake) since() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.asked
	f.asked = nil
	return out
}

func (f *fake) Encrypt(_ context.Context, in *kms.EncryptInput, _ ...func(*kms.Options)) (*kms.EncryptOutput, error) {
	f.note("Encrypt")
	return f.encrypt(in)
}

func (f *fake) Decrypt(_ context.Context, in *kms.DecryptInput, _ ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	f.note("Decrypt")
	return f.decrypt(in)
}

func (f *fake) DescribeKey(_ context.Context, in *kms.DescribeKeyInput,
	_ ...func(*kms.Options)) (*kms.DescribeKeyOutput, error) {
	f.note("DescribeKey")
	return f.describe(in)
}

func (f *fake) GetKeyRotationStatus(
	_ context.Context, in *kms.GetKeyRotationStatusInput, _ ...func(*kms.Options),
) (*kms.GetKeyRotationStatusOutput, error) {
	f.note("GetKeyRotationStatus")
	return f.rotation(in)
}

func ptr[T any](v T) *T { return &v }

// good is a KMS with keyA that does not encrypt and reports its key material.
func good() *fake {
	return &fake{
		encrypt: func(in *kms.EncryptInput) (*kms.EncryptOutput, error) {
			return &kms.EncryptOutput{KeyId: ptr(keyA), CiphertextBlob: append([]byte("wrapped "), in.Plaintext...)},
				nil
		},
		decrypt: func(in *kms.DecryptInput) (*kms.DecryptOutput, error) {
			return &kms.DecryptOutput{KeyId: in.KeyId, Plaintext: slices.Clone(in.CiphertextBlob[len("wrapped "):]),
				KeyMaterialId: ptr("material")}, nil
		},
		describe: func(*kms.DescribeKeyInput) (*kms.DescribeKeyOutput, error) {
			return &kms.DescribeKeyOutput{KeyMetadata: &types.KeyMetadata{Arn: ptr(keyA),
				KeyState: types.KeyStateEnabled, Origin: types.OriginTypeAwsKms,
				CurrentKeyMaterialId: ptr("material"), KeySpec: types.KeySpecSymmetricDefault,
				KeyUsage: types.KeyUsageTypeEncryptDecrypt}}, nil
		},
		rotation: func(*kms.GetKeyRotationStatusInput) (*kms.GetKeyRotationStatusOutput, error) {
			return &kms.GetKeyRotationStatusOutput{KeyRotationEnabled: true, RotationPeriodInDays: ptr(int32(365)),
				NextRotationDate: ptr(time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC))}, nil
		},
	}
}

func on1(t *testing.T, f *fake, key string) *Wrapper {
	t.Helper()
	w, err := NewWithClient("n", key, f)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func refusedWith(code, message string) error {
	return &smithy.OperationError{ServiceID: "KMS", OperationName: "Encrypt",
		Err: &smithy.GenericAPIError{Code: code, Message: message}}
}

func status(code int) error {
	return &smithy.OperationError{ServiceID: "KMS", OperationName: "Encrypt", Err: &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: code}}, Err: errors.New("no JSON")}}
}

func TestClasses(t *testing.T) {
	t.Parallel()
	type row struct {
		err    error
		class  seals.Class
		remedy string
	}
	rows := []row{
		{refusedWith("KMSInvalidStateException", keyA+" is pending deletion."), seals.PendingDeletion,
			"cancel-key-deletion"},
		{refusedWith("KMSInvalidStateException", keyA+" is pending import."), seals.KeyDisabled, "import"},
		{refusedWith("KMSInvalidStateException", keyA+" is unavailable."), seals.Unreachable, "key store"},
		{status(429), seals.Throttled, "quota"}, {status(404), seals.Misconfigured, "endpoint"},
		{status(502), seals.Unreachable, "reaches"},
		{&smithy.DeserializationError{Err: errors.New("bad")}, seals.Corrupt, "no proxy changes"},
		{errors.New("endpoint rule error, Invalid Configuration: FIPS and custom endpoint are not supported"),
			seals.Misconfigured, "use_fips_endpoint"},
		{errors.New("dial tcp: refused"), seals.Unreachable, "DNS"},
	}
	for _, a := range answers {
		for _, c := range a.codes {
			rows = append(rows, row{refusedWith(c, "words"), a.class, strings.ReplaceAll(a.remedy, "%[1]s", keyA)})
		}
	}
	for _, r := range rows {
		f := good()
		f.encrypt = func(*kms.EncryptInput) (*kms.EncryptOutput, error) { return nil, r.err }
		f.describe = func(*kms.DescribeKeyInput) (*kms.DescribeKeyOutput, error) {
			return nil, refusedWith("AccessDeniedException", "no")
		}
		_, err := on1(t, f, keyA).Encrypt(t.Context(), []byte("secret"))
		var got *seals.Failure
		if !errors.As(err, &got) || got.Class != r.class || !strings.Contains(got.Remedy, r.remedy) ||
			!strings.Contains(err.Error(), `seal "awskms" "n"`) {
			t.Errorf("%v: %v; want %s and %q", r.err, err, r.class, r.remedy)
		}
	}
}

// TestDeletionDate: the failure contains the date of the deletion.
func TestDeletionDate(t *testing.T) {
	t.Parallel()
	f := good()
	f.encrypt = func(*kms.EncryptInput) (*kms.EncryptOutput, error) {
		return nil, refusedWith("KMSInvalidStateException", "state")
	}
	f.describe = func(*kms.DescribeKeyInput) (*kms.DescribeKeyOutput, error) {
		return &kms.DescribeKeyOutput{KeyMetadata: &types.KeyMetadata{Arn: ptr(keyA),
			KeyState:     types.KeyStatePendingDeletion,
			DeletionDate: ptr(time.Date(2031, 4, 5, 6, 7, 0, 0, time.UTC))}}, nil
	}
	_, err := on1(t, f, keyA).Encrypt(t.Context(), nil)
	if seals.ClassOf(err) != seals.PendingDeletion || !strings.Contains(err.Error(), "2031-04-05 06:07 UTC") {
		t.Error(err)
	}
}

// TestImpossibleAnswers: answers that a KMS never gives are refused.
func TestImpossibleAnswers(t *testing.T) {
	t.Parallel()
	for what, out := range map[string]*kms.EncryptOutput{
		"no ARN":        {CiphertextBlob: []byte("x")},
		"an alias":      {KeyId: ptr(alias), CiphertextBlob: []byte("x")},
		"no blob":       {KeyId: ptr(keyA)},
		"a long blob":   {KeyId: ptr(keyA), CiphertextBlob: make([]byte, maxWrapped+1)},
		"another key's": {KeyId: ptr(keyB), CiphertextBlob: []byte("x")},
		"nothing known": {KeyId: ptr("arn:aws:kms"), CiphertextBlob: []byte("x")},
	} {
		f := good()
		f.encrypt = func(*kms.EncryptInput) (*kms.EncryptOutput, error) { return out, nil }
		_, err := on1(t, f, keyA).Encrypt(t.Context(), []byte("secret"))
		want := seals.Corrupt
		if what == "another key's" {
			want = seals.WrongKey
		}
		if seals.ClassOf(err) != want {
			t.Errorf("%s: %v; want %s", what, err, want)
		}
	}
	for what, out := range map[string]*kms.DecryptOutput{
		"another key's":  {KeyId: ptr(keyB), Plaintext: make([]byte, 32)},
		"a short key":    {KeyId: ptr(keyA), Plaintext: make([]byte, 31)},
		"another key":    {KeyId: ptr(keyA), Plaintext: make([]byte, 32)},
		"nothing at all": {},
	} {
		f := good()
		w := on1(t, f, keyA)
		blob, err := w.Encrypt(t.Context(), []byte("secret"))
		if err != nil {
			t.Fatal(err)
		}
		f.decrypt = func(*kms.DecryptInput) (*kms.DecryptOutput, error) { return out, nil }
		if _, err := w.Decrypt(t.Context(), blob); seals.ClassOf(err) != seals.Corrupt {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := on1(t, good(), keyA).Encrypt(t.Context(), make([]byte,
		maxPlain+1)); seals.ClassOf(err) != seals.Misconfigured {
		t.Errorf("a secret that is too long: %v", err)
	}
}

// TestPins: which keys a blob may name, and which ARN Decrypt uses.
func TestPins(t *testing.T) {
	t.Parallel()
	replica := strings.Replace(many, "eu-central-1", "us-east-1", 1)
	for _, c := range []struct{ key, blob, pin string }{
		{keyA, keyA, keyA}, {keyA, keyB, ""}, {keyA, alias, ""}, {keyA, "", ""},
		{many, replica, many}, {many, keyA, ""},
		{"1234abcd-12ab-34cd-56ef-1234567890ab", keyA, keyA}, {"1234abcd-12ab-34cd-56ef-1234567890ab", keyB, ""},
		{alias, keyA, keyA}, {alias, keyB, keyB}, // the alias was moved since
		{alias, strings.Replace(keyB, "1111", "6666", 1), ""},
		{alias, strings.Replace(keyB, "eu-central", "us-east", 1), ""},
		{"alias/root", keyB, keyB}, {"alias/root", strings.Replace(keyB, "aws:", "aws-cn:", 1), ""},
	} {
		pin, err := on1(t, good(), c.key).pin(t.Context(), c.blob)
		if pin != c.pin || (err == nil) != (c.pin != "") {
			t.Errorf("a seal on %s, a blob of %s: %q, %v; want %q", c.key, c.blob, pin, err, c.pin)
		}
		if class := seals.ClassOf(err); err != nil && class != seals.WrongKey && class != seals.Corrupt {
			t.Errorf("a seal on %s, a blob of %s: %v", c.key, c.blob, err)
		}
	}
}

// TestWithoutDescribeKey: results and requests where only kms:Encrypt and kms:Decrypt are allowed.
func TestWithoutDescribeKey(t *testing.T) {
	t.Parallel()
	f := good()
	f.describe = func(*kms.DescribeKeyInput) (*kms.DescribeKeyOutput, error) {
		return nil, refusedWith("AccessDeniedException", "not authorized to perform: kms:DescribeKey")
	}
	w := on1(t, f, "alias/root")
	if id, err := w.KeyId(t.Context()); err != nil || id != keyA || fmt.Sprint(f.since()) != "[DescribeKey Encrypt]" {
		t.Errorf("KeyId: %q, %v", id, err)
	}
	if v, err := w.KeyVersion(t.Context()); err != nil || v != "material" || fmt.Sprint(f.since()) != "[Decrypt]" {
		t.Errorf("KeyVersion: %q, %v", v, err)
	}
	state, err := w.Describe(t.Context())
	if err != nil || state.ID != keyA || state.State != "" ||
		!strings.Contains(state.Detail["degraded"], "kms:DescribeKey") ||
		fmt.Sprint(f.since()) != "[DescribeKey]" {
		t.Errorf("Describe: %+v, %v", state, err)
	}
	f.describe = good().describe
	if state, err := w.Describe(t.Context()); err != nil || state.State != "enabled" || state.Version != "material" {
		t.Errorf("Describe, allowed again: %+v, %v", state, err)
	}
}

// TestOneCall: Describe is one call once the rotation is known, until the key material changes.
func TestOneCall(t *testing.T) {
	t.Parallel()
	f := good()
	w := on1(t, f, keyA)
	for i, want := range []string{"[DescribeKey GetKeyRotationStatus]", "[DescribeKey]",
		"[DescribeKey GetKeyRotationStatus]", "[DescribeKey]"} {
		if i == 2 {
			old := f.describe
			f.describe = func(in *kms.DescribeKeyInput) (*kms.DescribeKeyOutput, error) {
				out, err := old(in)
				out.KeyMetadata.CurrentKeyMaterialId = ptr("new")
				return out, err
			}
		}
		state, err := w.Describe(t.Context())
		if err != nil || state.Detail["rotation"] != "every 365 days, next on 2027-01-02" ||
			fmt.Sprint(f.since()) != want {
			t.Errorf("Describe %d: %+v, %v", i, state, err)
		}
	}
}

func TestDescribeUnusualKeys(t *testing.T) {
	t.Parallel()
	f := good()
	f.describe = func(*kms.DescribeKeyInput) (*kms.DescribeKeyOutput, error) {
		return &kms.DescribeKeyOutput{KeyMetadata: &types.KeyMetadata{
			Arn: ptr(many), KeyState: types.KeyStatePendingReplicaDeletion, Origin: types.OriginTypeExternalKeyStore,
			KeySpec: types.KeySpecRsa2048, KeyUsage: types.KeyUsageTypeSignVerify,
			PendingDeletionWindowInDays: ptr(int32(7)), ValidTo: ptr(time.Unix(0, 0)),
			MultiRegionConfiguration: &types.MultiRegionConfiguration{
				MultiRegionKeyType: types.MultiRegionKeyTypePrimary, PrimaryKey: &types.MultiRegionKey{Arn: ptr(many)},
			},
		}}, nil
	}
	s, err := on1(t, f, alias).Describe(t.Context())
	if err != nil || s.State != statePending || s.Protection != "external" || s.Region != "eu-central-1" ||
		s.Detail["multi-Region"] != "primary" ||
		!strings.Contains(s.Detail["problem"], "RSA_2048 for SIGN_VERIFY") ||
		s.Detail["material expires"] != "1970-01-01 00:00 UTC" ||
		!strings.HasPrefix(s.Detail["deletion"], "7 days") || s.Detail["alias"] != alias {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestDamageWithValidChecksum changes a blob and corrects its checksum: the encryption of the data
// key or of the secret refuses it.
func TestDamageWithValidChecksum(t *testing.T) {
	t.Parallel()
	w := on1(t, good(), keyA)
	for _, field := range []string{"ciphertext", "iv", "wrapped"} {
		blob, err := w.Encrypt(t.Context(), []byte("secret"))
		if err != nil {
			t.Fatal(err)
		}
		switch field {
		case "ciphertext":
			blob.Ciphertext[0] ^= 1
		case "iv":
			blob.Iv[0] ^= 1
		default:
			blob.KeyInfo.WrappedKey[len("wrapped ")] ^= 1
		}
		blob.Hmac = checksum(blob)
		if _, err := w.Decrypt(t.Context(), blob); seals.ClassOf(err) != seals.Corrupt || !errors.Is(err, errUnbound) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
