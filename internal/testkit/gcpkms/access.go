package gcpkms

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
)

// roles are the permissions of Google's predefined roles, as far as methods of the emulator ask for
// them. Note that an administrator can neither encrypt nor decrypt, and that the encrypter role
// cannot read the key.
//
// Source: cloud.google.com/kms/docs/reference/permissions-and-roles.
var roles = map[string][]string{
	"roles/cloudkms.admin": {
		"keyRings.create", "keyRings.get", "keyRings.list", "cryptoKeys.create", "cryptoKeys.get", "cryptoKeys.list",
		"cryptoKeys.update",
		"cryptoKeyVersions.create", "cryptoKeyVersions.get", "cryptoKeyVersions.list", "cryptoKeyVersions.update",
		"cryptoKeyVersions.destroy",
		"cryptoKeyVersions.restore",
	},
	"roles/cloudkms.viewer": {
		"keyRings.get", "keyRings.list", "cryptoKeys.get", "cryptoKeys.list", "cryptoKeyVersions.get",
		"cryptoKeyVersions.list",
	},
	"roles/cloudkms.cryptoKeyEncrypterDecrypter": {"cryptoKeyVersions.useToEncrypt", "cryptoKeyVersions.useToDecrypt"},
	"roles/cloudkms.cryptoKeyEncrypter":          {"cryptoKeyVersions.useToEncrypt"},
	"roles/cloudkms.cryptoKeyDecrypter":          {"cryptoKeyVersions.useToDecrypt"},
}

// Grant is a role on a resource and all below it; the empty resource is everything.
type Grant struct{ Role, On string }

// ErrGrant is returned for a role that the emulator does not know, or a resource that is none.
var ErrGrant = errors.New("gcpkms: no such grant")

// ParseGrant reads ROLE or ROLE@RESOURCE; "roles/" may be left out.
func ParseGrant(text string) (Grant, error) {
	role, on, _ := strings.Cut(text, "@")
	if !strings.HasPrefix(role, "roles/") {
		role = "roles/" + role
	}
	if roles[role] == nil {
		return Grant{}, fmt.Errorf("%w: role %q", ErrGrant, role)
	}
	if _, ok := parse(on); on != "" && !ok {
		return Grant{}, fmt.Errorf("%w: resource %q", ErrGrant, on)
	}
	return Grant{Role: role, On: on}, nil
}

func (g Grant) allows(permission, resource string) bool {
	within := g.On == "" || resource == g.On || strings.HasPrefix(resource, g.On+"/")
	return within && slices.Contains(roles[g.Role], permission)
}

// Quotas are requests of one account in a minute.
//
// Source: cloud.google.com/kms/quotas: read 300, write 60, cryptographic 60,000 for each calling
// project. The emulator counts each account separately, per clock minute.
type Quotas struct{ Read, Write, Crypto int }

func (q Quotas) orGoogles() Quotas {
	if q.Read == 0 {
		q.Read = 300
	}
	if q.Write == 0 {
		q.Write = 60
	}
	if q.Crypto == 0 {
		q.Crypto = 60_000
	}
	return q
}

// usage is what an account used in one minute.
type usage struct {
	minute time.Time
	count  map[string]int
}

// spend counts a request. Source: cloud.google.com/kms/docs/monitor-adjust-quotas:
// RESOURCE_EXHAUSTED once the limit is reached.
func (s *Service) spend(who, class string) error {
	limit := map[string]int{"Read": s.o.Quotas.Read, "Write": s.o.Quotas.Write,
		"Cryptographic": s.o.Quotas.Crypto}[class]
	s.mu.Lock()
	defer s.mu.Unlock()
	u, minute := s.used[who], s.o.Now().Truncate(time.Minute)
	if u == nil || !u.minute.Equal(minute) {
		u = &usage{minute: minute, count: map[string]int{}}
		s.used[who] = u
	}
	if u.count[class]++; u.count[class] <= limit {
		return nil
	}
	return detailed(codes.ResourceExhausted,
		fmt.Sprintf("Quota exceeded for quota metric '%s requests' and limit '%s requests per minute' "+
			"of service 'cloudkms.googleapis.com' for consumer '%s'.", class, class, who),
		&errdetails.ErrorInfo{
			Reason: "RATE_LIMIT_EXCEEDED", Domain: "googleapis.com",
			Metadata: map[string]string{"service": "cloudkms.googleapis.com"},
		})
}

// method is what a call needs: a permission of cloudkms, on the resource that it names, which is of
// one kind.
type method struct {
	permission, class string
	kind              kind
}

// methods: source: cloud.google.com/kms/docs/reference/permissions-and-roles, and
// cloud.google.com/kms/quotas for the classes.
var methods = map[string]method{
	"CreateKeyRing":                 {"keyRings.create", "Write", location},
	"GetKeyRing":                    {"keyRings.get", "Read", keyRing},
	"ListKeyRings":                  {"keyRings.list", "Read", location},
	"CreateCryptoKey":               {"cryptoKeys.create", "Write", keyRing},
	"GetCryptoKey":                  {"cryptoKeys.get", "Read", cryptoKey},
	"ListCryptoKeys":                {"cryptoKeys.list", "Read", keyRing},
	"UpdateCryptoKey":               {"cryptoKeys.update", "Write", cryptoKey},
	"UpdateCryptoKeyPrimaryVersion": {"cryptoKeys.update", "Write", cryptoKey},
	"CreateCryptoKeyVersion":        {"cryptoKeyVersions.create", "Write", cryptoKey},
	"GetCryptoKeyVersion":           {"cryptoKeyVersions.get", "Read", keyVersion},
	"ListCryptoKeyVersions":         {"cryptoKeyVersions.list", "Read", cryptoKey},
	"UpdateCryptoKeyVersion":        {"cryptoKeyVersions.update", "Write", keyVersion},
	"DestroyCryptoKeyVersion":       {"cryptoKeyVersions.destroy", "Write", keyVersion},
	"RestoreCryptoKeyVersion":       {"cryptoKeyVersions.restore", "Write", keyVersion},
	"Encrypt":                       {"cryptoKeyVersions.useToEncrypt", "Cryptographic", keyOrVersion},
	"Decrypt":                       {"cryptoKeyVersions.useToDecrypt", "Cryptographic", cryptoKey},
}

// resource is what a request names.
func resource(req any) string {
	switch r := req.(type) {
	case *kmspb.UpdateCryptoKeyRequest:
		return r.GetCryptoKey().GetName()
	case *kmspb.UpdateCryptoKeyVersionRequest:
		return r.GetCryptoKeyVersion().GetName()
	case interface{ GetName() string }:
		return r.GetName()
	case interface{ GetParent() string }:
		return r.GetParent()
	}
	return ""
}

// admit authorises a request of an account. Without the permission, the error does not reveal
// whether the resource exists.
//
// Sources: google.aip.dev/211 for the order and the text; cloud.google.com/apis/design/errors for
// the details.
func (s *Service) admit(ctx context.Context, short string, req any) error {
	m, known := methods[short]
	if !known {
		return status.Errorf(codes.Unimplemented, "This emulator of Cloud KMS does not do %.100q.", short)
	}
	who, err := s.authenticate(ctx)
	if err != nil {
		return err
	}
	text := resource(req)
	if _, err := expect(text, m.kind); err != nil {
		return err
	}
	if err := s.spend(who.email(), m.class); err != nil {
		return err
	}
	permission := m.permission
	if s.granted(who, permission, text) {
		return nil
	}
	return detailed(codes.PermissionDenied,
		fmt.Sprintf("Permission 'cloudkms.%s' denied on resource '%s' (or it may not exist).", permission, text),
		&errdetails.ErrorInfo{
			Reason: "IAM_PERMISSION_DENIED", Domain: "cloudkms.googleapis.com",
			Metadata: map[string]string{"permission": "cloudkms." + permission, "resource": text},
		})
}

func (s *Service) granted(who *account, permission, on string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(who.grants, func(g Grant) bool { return g.allows(permission, on) })
}

func detailed(code codes.Code, text string, details ...protoadapt.MessageV1) error {
	st, err := status.New(code, text).WithDetails(details...)
	if err != nil {
		return status.Error(code, text)
	}
	return st.Err()
}
