package v1

import (
	"time"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/auth/method/approle"
	"github.com/sealgate/sealgate/internal/auth/method/cert"
	"github.com/sealgate/sealgate/internal/auth/method/jwt"
	"github.com/sealgate/sealgate/internal/auth/method/kubernetes"
	"github.com/sealgate/sealgate/internal/auth/method/userpass"
	"github.com/sealgate/sealgate/internal/mount"

	"golang.org/x/crypto/bcrypt"
)

// authMethodsOf are the auth methods, with a clock of the test's.
func authMethodsOf(now func() time.Time) map[string]mount.Factory {
	o := method.Options{Now: now}
	return map[string]mount.Factory{
		"approle": approle.Factory(o), "cert": cert.Factory(o), "jwt": jwt.Factory(o), "oidc": jwt.Factory(o),
		"kubernetes": kubernetes.Factory(kubernetes.Options{Options: o}),
		"userpass":   userpass.Factory(userpass.Options{Options: o, Cost: bcrypt.MinCost}),
	}
}
