package awskms

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sealgate/sealgate/seals"
)

const statePending = "pending deletion"

// states maps AWS's states of a key to those of seals.KeyState.
var states = map[types.KeyState]string{
	types.KeyStateEnabled: "enabled", types.KeyStateDisabled: "disabled", types.KeyStatePendingDeletion: statePending,
	types.KeyStatePendingReplicaDeletion: statePending, types.KeyStatePendingImport: "pending import",
	types.KeyStateUnavailable: "unavailable", types.KeyStateCreating: "creating", types.KeyStateUpdating: "updating",
}

// KeyId returns the canonical ARN of the key that encrypts. It makes no request where kms_key_id is
// that ARN; for an alias it returns the key that the alias names now.
func (w *Wrapper) KeyId(ctx context.Context) (string, error) {
	if arn := w.known(); arn != "" && !isAlias(w.set.key) {
		return arn, nil
	}
	meta, err := w.describe(ctx, false)
	if err == nil {
		w.learn(aws.ToString(meta.Arn), nil)
		return aws.ToString(meta.Arn), nil
	}
	if !forbidden(err) {
		return "", err
	}
	out, err := w.trial(ctx)
	if err != nil {
		return "", err
	}
	return out.arn, nil
}

// KeyVersion returns the id of the key material that Encrypt uses now, "" where AWS does not report
// it. It calls DescribeKey; where that is not allowed, it decrypts the last ciphertext.
func (w *Wrapper) KeyVersion(ctx context.Context) (string, error) {
	meta, err := w.describe(ctx, false)
	if err == nil {
		return aws.ToString(meta.CurrentKeyMaterialId), nil
	}
	if !forbidden(err) {
		return "", err
	}
	last := w.latest()
	if last == nil {
		if last, err = w.trial(ctx); err != nil {
			return "", err
		}
	}
	back, err := ask(ctx, w, "decrypt", last.arn, decryptCall,
		&kms.DecryptInput{KeyId: &last.arn, CiphertextBlob: last.blob, EncryptionContext: last.pairs})
	if err != nil {
		return "", err
	}
	clear(back.Plaintext)
	return aws.ToString(back.KeyMaterialId), nil
}

// trial encrypts random bytes to learn the key's ARN.
func (w *Wrapper) trial(ctx context.Context) (*wrapped, error) {
	noise := make([]byte, dataKeyLen)
	_, _ = rand.Read(noise) // never fails
	return w.wrap(ctx, noise, map[string]string{"sealgate": "trial"})
}

// askAgain is how long a refusal of DescribeKey is remembered where it can be avoided.
const askAgain = 30 * time.Minute

// describe calls DescribeKey. Without force it returns a remembered refusal.
func (w *Wrapper) describe(ctx context.Context, force bool) (*types.KeyMetadata, error) {
	w.mu.Lock()
	refused := w.refused
	w.mu.Unlock()
	if !force && refused.err != nil && time.Now().Before(refused.until) {
		return nil, refused.err
	}
	out, err := ask(ctx, w, "describe", w.set.key, describeCall, &kms.DescribeKeyInput{KeyId: &w.set.key})
	w.mu.Lock()
	if w.refused.err = nil; forbidden(err) {
		w.refused.err, w.refused.until = err, time.Now().Add(askAgain)
	}
	w.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if a, ok := parseARN(aws.ToString(out.KeyMetadata.Arn)); !ok || a.alias() {
		return nil, seals.Fail(seals.Corrupt, w.caused("describe", errors.New("the answer has no canonical ARN")),
			"%s", checkEndpoint)
	}
	return out.KeyMetadata, nil
}

// forbidden reports that the credentials are valid and lack a permission.
func forbidden(err error) bool { return strings.HasPrefix(code(err), "AccessDenied") }

// Describe calls DescribeKey, and GetKeyRotationStatus when the key's material changed. Both are
// optional permissions.
func (w *Wrapper) Describe(ctx context.Context) (seals.KeyState, error) {
	meta, err := w.describe(ctx, true)
	if forbidden(err) {
		return w.degraded(), nil
	}
	if err != nil {
		return seals.KeyState{}, err
	}
	arn, _ := parseARN(aws.ToString(meta.Arn))
	s := seals.KeyState{
		ID: arn.String(), Version: aws.ToString(meta.CurrentKeyMaterialId),
		Latest: aws.ToString(meta.CurrentKeyMaterialId),
		State:  states[meta.KeyState], Region: arn.region, Protection: "hsm",
		Detail: map[string]string{"origin": string(meta.Origin)},
	}
	if s.State == "" {
		s.State = string(meta.KeyState)
	}
	if meta.DeletionDate != nil {
		s.DeletionDate = *meta.DeletionDate
	}
	if meta.DeletionDate == nil && meta.ExpirationModel == types.ExpirationModelTypeKeyMaterialExpires &&
		meta.ValidTo != nil {
		s.DeletionDate = *meta.ValidTo // AWS deletes imported material then
	}
	if meta.Origin == types.OriginTypeExternalKeyStore {
		s.Protection = "external"
	}
	if meta.KeySpec != types.KeySpecSymmetricDefault || meta.KeyUsage != types.KeyUsageTypeEncryptDecrypt {
		s.Detail["problem"] = fmt.Sprintf("a seal needs a symmetric key for encryption; this one is %s for %s",
			meta.KeySpec, meta.KeyUsage)
	}
	if days := aws.ToInt32(meta.PendingDeletionWindowInDays); s.State == statePending && days > 0 {
		s.Detail["deletion"] = fmt.Sprintf("%d days after its last replica is gone", days)
	}
	if meta.ValidTo != nil {
		s.Detail["material expires"] = meta.ValidTo.UTC().Format("2006-01-02 15:04 MST")
	}
	if m := meta.MultiRegionConfiguration; m != nil {
		s.Detail["multi-Region"] = strings.ToLower(string(m.MultiRegionKeyType))
		if m.PrimaryKey != nil {
			s.Detail["primary"] = aws.ToString(m.PrimaryKey.Arn)
		}
	}
	if isAlias(w.set.key) {
		s.Detail["alias"] = w.set.key
	}
	if s.State == "enabled" && meta.Origin == types.OriginTypeAwsKms {
		s.Detail["rotation"] = w.rotation(ctx, s)
	}
	return s, nil
}

// degraded returns what is known without DescribeKey.
func (w *Wrapper) degraded() seals.KeyState {
	s := seals.KeyState{ID: w.known(), Region: w.conn.where(), Detail: map[string]string{
		"degraded": "state, deletion date and rotation of the key are unknown: allow kms:DescribeKey and " +
			"kms:GetKeyRotationStatus",
	}}
	if s.ID == "" {
		s.ID = w.set.key
	}
	return s
}

// schedule caches the rotation of a key while its material stays the same.
type schedule struct {
	arn, material, text string
}

// rotation returns a short description of the key's rotation.
func (w *Wrapper) rotation(ctx context.Context, key seals.KeyState) string {
	w.mu.Lock()
	kept := w.schedule
	w.mu.Unlock()
	if kept.text != "" && kept.arn == key.ID && kept.material == key.Version {
		return kept.text
	}
	out, err := ask(ctx, w, "read the rotation of", key.ID, rotationCall,
		&kms.GetKeyRotationStatusInput{KeyId: &key.ID})
	text := "on demand only"
	switch {
	case forbidden(err):
		text = "unknown: kms:GetKeyRotationStatus is not allowed"
	case err != nil:
		return "unknown: " + seals.Classify(err).Err.Error()
	case out.KeyRotationEnabled:
		text = fmt.Sprintf("every %d days", aws.ToInt32(out.RotationPeriodInDays))
		if out.NextRotationDate != nil {
			text += ", next on " + out.NextRotationDate.UTC().Format("2006-01-02")
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.schedule = schedule{key.ID, key.Version, text}
	return text
}
