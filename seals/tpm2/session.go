package tpm2

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/sealgate/sealgate/seals"
)

// session is an open TPM with the primary key.
type session struct {
	tpm     transport.TPM
	primary *tpm2.CreatePrimaryResponse
	public  *tpm2.TPMTPublic
}

// begin makes the primary key from the TPM's seed.
func begin(tpm transport.TPM, label string) (*session, error) {
	template := tpm2.ECCSRKTemplate
	if label != "" {
		x := make([]byte, 32)
		copy(x, label)
		template.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: x}, Y: tpm2.TPM2BECCParameter{Buffer: make([]byte, 32)},
		})
	}
	primary, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(template)}.Execute(tpm)
	if err != nil {
		return nil, fmt.Errorf("making the primary key: %w", err)
	}
	s := &session{tpm: tpm, primary: primary}
	if s.public, err = primary.OutPublic.Contents(); err != nil {
		s.end()
		return nil, fmt.Errorf("%w: %w", errAnswer, err)
	}
	return s, nil
}

// flush removes the objects and sessions that an earlier call left behind when its time ended.
func flush(tpm transport.TPM) {
	for _, first := range []tpm2.TPMHT{tpm2.TPMHTTransient, tpm2.TPMHTLoadedSession} {
		out, err := tpm2.GetCapability{
			Capability: tpm2.TPMCapHandles, Property: uint32(first) << 24, PropertyCount: 16,
		}.Execute(tpm)
		if err != nil {
			return // the next command shows why
		}
		handles, err := out.CapabilityData.Data.Handles()
		if err != nil {
			return
		}
		for _, h := range handles.Handle {
			_, _ = tpm2.FlushContext{FlushHandle: h}.Execute(tpm)
		}
	}
}

// end flushes the primary key. A resource manager does so with the end of the connection, too.
func (s *session) end() { _, _ = tpm2.FlushContext{FlushHandle: s.primary.ObjectHandle}.Execute(s.tpm) }

func (s *session) id() string { return idOf(s.primary.Name.Buffer) }

func (s *session) parent() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: s.primary.ObjectHandle, Name: s.primary.Name, Auth: tpm2.PasswordAuth(nil)}
}

// encrypted are the options of sessions whose first parameter crosses the bus encrypted, by a salt
// for the primary key.
func (s *session) encrypted(option tpm2.AuthOption) []tpm2.AuthOption {
	return []tpm2.AuthOption{option, tpm2.Salted(s.primary.ObjectHandle, *s.public)}
}

func selection(mask uint32) tpm2.TPMLPCRSelection {
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{
		Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(list(mask)...),
	}}}
}

// assert runs the commands of the policy in a session.
func assert(tpm transport.TPM, handle tpm2.TPMISHPolicy, mask uint32, pin bool) error {
	if _, err := (tpm2.PolicyPCR{PolicySession: handle, Pcrs: selection(mask)}).Execute(tpm); err != nil {
		return err
	}
	if !pin {
		return nil
	}
	_, err := tpm2.PolicyAuthValue{PolicySession: handle}.Execute(tpm)
	return err
}

// policy computes the digest of the policy for the registers as they are.
func (s *session) policy(mask uint32, pin bool) ([]byte, error) {
	sess, closer, err := tpm2.PolicySession(s.tpm, tpm2.TPMAlgSHA256, 16, tpm2.Trial())
	if err != nil {
		return nil, err
	}
	defer closer() //nolint:errcheck // a trial session
	if err := assert(s.tpm, sess.Handle(), mask, pin); err != nil {
		return nil, err
	}
	digest, err := tpm2.PolicyGetDigest{PolicySession: sess.Handle()}.Execute(s.tpm)
	if err != nil {
		return nil, err
	}
	return digest.PolicyDigest.Buffer, nil
}

// seal makes an object of the TPM that has the secret.
func (s *session) seal(secret, pin *seals.Secret, mask uint32) ([]byte, error) {
	public := tpm2.TPMTPublic{
		Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, UserWithAuth: mask == 0, NoDA: pin.Len() == 0},
	}
	if mask != 0 {
		digest, err := s.policy(mask, pin.Len() > 0)
		if err != nil {
			return nil, err
		}
		public.AuthPolicy = tpm2.TPM2BDigest{Buffer: digest}
	}
	var auth []byte
	if pin.Len() > 0 {
		auth = pin.Expose()
	}
	made, err := tpm2.Create{
		ParentHandle: s.parent(),
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			UserAuth: tpm2.TPM2BAuth{Buffer: auth},
			Data:     tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: secret.Expose()}),
		}},
		InPublic: tpm2.New2B(public),
	}.Execute(s.tpm, tpm2.HMAC(tpm2.TPMAlgSHA256, 16, s.encrypted(tpm2.AESEncryption(128, tpm2.EncryptIn))...))
	if err != nil {
		return nil, err
	}
	return sealed{pin.Len() > 0, mask, made.OutPublic.Bytes(), made.OutPrivate.Buffer}.marshal()
}

// unseal loads an object and reads the secret.
func (s *session) unseal(b sealed, pin *seals.Secret) ([]byte, error) {
	loaded, err := tpm2.Load{
		ParentHandle: s.parent(), InPrivate: tpm2.TPM2BPrivate{Buffer: b.private},
		InPublic: tpm2.BytesAs2B[tpm2.TPMTPublic](b.public),
	}.Execute(s.tpm)
	var code tpm2.TPMRC
	switch {
	case errors.As(err, &code) && !code.IsWarning():
		return nil, fmt.Errorf("%w: %w", errNotOurs, err)
	case err != nil:
		return nil, err
	}
	defer tpm2.FlushContext{FlushHandle: loaded.ObjectHandle}.Execute(s.tpm) //nolint:errcheck // see end
	options := s.encrypted(tpm2.AESEncryption(128, tpm2.EncryptOut))
	if b.needsPIN {
		options = append(options, tpm2.Auth(pin.Expose()))
	}
	auth := tpm2.HMAC(tpm2.TPMAlgSHA256, 16, options...)
	if b.pcrs != 0 {
		auth = tpm2.Policy(tpm2.TPMAlgSHA256, 16,
			func(tpm transport.TPM, handle tpm2.TPMISHPolicy, _ tpm2.TPM2BNonce) error {
				return assert(tpm, handle, b.pcrs, b.needsPIN)
			}, options...)
	}
	out, err := tpm2.Unseal{
		ItemHandle: tpm2.AuthHandle{Handle: loaded.ObjectHandle, Name: loaded.Name, Auth: auth},
	}.Execute(s.tpm)
	if err != nil {
		return nil, err
	}
	return out.OutData.Buffer, nil
}

// lockout is the state of the protection against guesses of authorisations.
type lockout struct {
	failed, most uint32
	recovers     time.Duration // in which a counted failure is forgotten
}

func (s *session) lockout() (l lockout, err error) {
	out, err := tpm2.GetCapability{
		Capability: tpm2.TPMCapTPMProperties, Property: uint32(tpm2.TPMPTLockoutCounter), PropertyCount: 4,
	}.Execute(s.tpm)
	if err != nil {
		return lockout{}, err
	}
	properties, err := out.CapabilityData.Data.TPMProperties()
	if err != nil {
		return lockout{}, fmt.Errorf("%w: %w", errAnswer, err)
	}
	for _, p := range properties.TPMProperty {
		switch p.Property {
		case tpm2.TPMPTLockoutCounter:
			l.failed = p.Value
		case tpm2.TPMPTMaxAuthFail:
			l.most = p.Value
		case tpm2.TPMPTLockoutInterval:
			l.recovers = time.Duration(p.Value) * time.Second
		}
	}
	if l.most == 0 {
		return lockout{}, fmt.Errorf("%w: it has no lock-out counter", errAnswer)
	}
	return l, nil
}
