package cli

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/openbao/openbao/api/v2"

	"github.com/sealgate/sealgate/internal/clients"
)

// tenant is a client of this server's transit engine: a key, and a credential whose policy allows
// no more than the client needs.
type tenant struct {
	Name string `json:"-"`
	clients.Tenant
}

const tenantPrefix = clients.TenantPrefix

// tenantName also keeps the name of the policy in lower case, as servers store it.
var tenantName = regexp.MustCompile(`^[a-z0-9]([a-z0-9_.-]{0,61}[a-z0-9])?$`)

func checkTenantName(b *base, name string) bool {
	if tenantName.MatchString(name) {
		return true
	}
	b.errorf("Error: the name of a tenant has 1 to 63 lower-case letters, digits and inner dashes, points or underscores")
	return false
}

func (t *tenant) policyName() string { return tenantPrefix + t.Name }

// policy is the text of the tenant's policy. A credential that lives by renewal may renew itself.
func (t *tenant) policy() (string, error) {
	c, ok := clients.Find(t.Client)
	if !ok {
		return "", fmt.Errorf("no client is named %q: policy template -help lists them", t.Client)
	}
	if c.Mount != "transit" {
		return "", fmt.Errorf("the client %s does not use transit", t.Client)
	}
	text, err := t.Line()
	if err != nil {
		return "", err
	}
	text += c.At(t.Mount, t.Key).Policy()
	const renew = `path "auth/token/renew-self" { capabilities = ["update"] }` + "\n"
	if !strings.Contains(text, renew) {
		text += renew
	}
	return text, nil
}

// readTenant reads a tenant's record; nil if there is no policy of that name.
func readTenant(client *api.Client, name string) (*tenant, error) {
	t := &tenant{Name: name}
	s, err := client.Logical().Read(policiesPath + "/" + t.policyName())
	if err != nil || s == nil {
		return nil, err
	}
	text, _ := s.Data["policy"].(string)
	var ok bool
	if t.Tenant, ok = clients.TenantOf(text); !ok || t.check() != nil {
		return nil, fmt.Errorf("the policy %s does not begin with the record of a tenant: choose another name, or remove it",
			t.policyName())
	}
	return t, nil
}

// check judges a record, which a client that may write policies can have changed.
func (t *tenant) check() error {
	if err := t.Check(); err != nil {
		return err
	}
	_, err := t.policy()
	return err
}

// allTenants reads every tenant, by name. Policies that only have a tenant's name are left out.
func allTenants(client *api.Client) ([]*tenant, error) {
	s, err := client.Logical().List(policiesPath)
	if err != nil {
		return nil, err
	}
	names, _ := keysOf(s)
	var all []*tenant
	for _, n := range names {
		name, ok := strings.CutPrefix(fmt.Sprint(n), tenantPrefix)
		if !ok || !tenantName.MatchString(name) {
			continue
		}
		t, err := readTenant(client, name)
		if answered(err) != 0 {
			return nil, err
		}
		if err == nil && t != nil {
			all = append(all, t)
		}
	}
	return all, nil
}

func tenantSuspendCommand(b *base) *command {
	return &command{base: b, name: "operator tenant suspend", args: "NAME", least: 1, most: 1,
		synopsis: "Refuse every use of a tenant's key",
		about: `Soft-deletes the tenant's key: from this moment on every node refuses each request with it
("refusing to use soft-deleted key"; a Sealgate that unseals through it reports the class "key
disabled"). Nothing is lost, and the tenant's credential stays valid and renewable. A downstream
server that is unsealed stays unsealed until it restarts.`,
		run: func(args []string) int {
			return changeTenant(b, args[0], http.MethodDelete, "soft-delete", "suspending",
				"Success! Suspended the tenant: every use of its key is refused.")
		}}
}

func tenantResumeCommand(b *base) *command {
	return &command{base: b, name: "operator tenant resume", args: "NAME", least: 1, most: 1,
		synopsis: "Allow the use of a tenant's key again",
		about:    "Restores the key of a tenant that was suspended.",
		run: func(args []string) int {
			return changeTenant(b, args[0], http.MethodPost, "soft-delete-restore", "resuming",
				"Success! Resumed the tenant.")
		}}
}

func changeTenant(b *base, name, method, endpoint, doing, success string) int {
	if !checkTenantName(b, name) {
		return exitLocal
	}
	return b.withClient(func(client *api.Client) int {
		doing += " the tenant " + name
		t, err := readTenant(client, name)
		if err == nil && t == nil {
			err = fmt.Errorf("there is no such tenant: operator tenant list shows them")
		}
		if err != nil {
			return b.fail(doing, err)
		}
		s, err := send(client, method, t.Mount+"/keys/"+t.Key+"/"+endpoint, nil)
		if err == nil && s == nil {
			err = fmt.Errorf("its key %s/keys/%s does not exist", t.Mount, t.Key)
		}
		if err != nil {
			return b.fail(doing, err)
		}
		b.warnings(s.Warnings)
		b.printf("%s\n", success)
		return exitOK
	})
}
