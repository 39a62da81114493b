package clients

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Tenant is a client of the transit engine that has a key and a credential of its own. It is
// recorded in the first line of its policy, so that the record and the rights cannot come apart:
//
//	# sealgate-tenant: {"mount":"transit","key":"acme",...}
type Tenant struct {
	Mount    string `json:"mount"`
	Key      string `json:"key"`
	Client   string `json:"client"`
	Auth     string `json:"auth"` // "token", "approle", "cert"
	Accessor string `json:"accessor,omitempty"`
}

const (
	// TenantPrefix begins the names of a tenant's policy and of its role in an auth method.
	TenantPrefix = "tenant-"

	tenantRecord = "# sealgate-tenant: "
)

// Line returns the first line of the tenant's policy.
func (t Tenant) Line() (string, error) {
	record, err := json.Marshal(t)
	return tenantRecord + string(record) + "\n", err
}

// TenantOf reads the record of a tenant from its policy, and checks it: a client that may write
// policies can have changed it.
func TenantOf(policy string) (t Tenant, ok bool) {
	first, _, _ := strings.Cut(policy, "\n")
	record, ok := strings.CutPrefix(first, tenantRecord)
	return t, ok && json.Unmarshal([]byte(record), &t) == nil && t.Check() == nil
}

// Check refuses what cannot be a path of a mount and the name of a key.
func (t Tenant) Check() error {
	if strings.ContainsFunc(t.Mount+t.Key+t.Accessor, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return errors.New("a tenant's mount, key and accessor are printable ASCII without spaces")
	}
	for what, v := range map[string]string{"mount": t.Mount, "key": t.Key} {
		if v == "" || strings.ContainsAny(v, "\"*+\\\n{} ?#%") || strings.Contains("/"+v+"/", "/../") {
			return fmt.Errorf("the tenant's %s is missing, or has characters that a path cannot have", what)
		}
	}
	if strings.Contains(t.Key, "/") {
		return errors.New("the name of a key cannot contain a slash")
	}
	if !slices.Contains([]string{"token", "approle", "cert"}, t.Auth) {
		return errors.New("-auth is token, approle or cert")
	}
	return nil
}
