package cli

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

// tenantAdd is `operator tenant add`. Each step looks first whether it was done, so that the
// command can run again after it was interrupted.
type tenantAdd struct {
	*base
	want    tenant
	keyType string
	managed string // the managed key that the key is, in a device
	period  string
	cert    string // PEM
	out     string
	again   bool // make another credential

	client   *api.Client
	done     *tenantAdded
	previous string // accessor of the credential that another one has replaced
}

// tenantAdded is the output of the command.
type tenantAdded struct {
	Tenant   string `json:"tenant"`
	Mount    string `json:"mount"`
	Key      string `json:"key"`
	Policy   string `json:"policy"`
	Auth     string `json:"auth"`
	Accessor string `json:"accessor,omitempty"`
	Token    string `json:"token,omitempty"`
	RoleID   string `json:"role_id,omitempty"`
	SecretID string `json:"secret_id,omitempty"`
	Stanza   string `json:"stanza"`
}

func tenantAddCommand(b *base) *command {
	a := &tenantAdd{base: b}
	b.formatted()
	f := b.flags
	f.StringVar(&a.want.Mount, "mount", "transit", "`path` of the transit engine; it is mounted where it is missing")
	f.StringVar(&a.want.Key, "key", "", "`name` of the key, that of the tenant by default; it is made where it is missing")
	f.StringVar(&a.keyType, "type", "aes256-gcm96", "`type` of a key that is made")
	f.StringVar(&a.managed, "managed-key", "", "make the key from this managed key `name`: it stays in its device")
	f.StringVar(&a.want.Client, "client", "openbao", "`client` that uses the key: see policy template -help")
	f.StringVar(&a.want.Auth, "auth", "token", "`method`: token (periodic orphan), approle or cert")
	f.StringVar(&a.period, "period", "768h", "`time` within which the tenant must renew its token")
	f.StringVar(&a.cert, "certificate", "", "`file` with the client's certificate or its CA, for -auth=cert")
	f.StringVar(&a.out, "out", "", "write the configuration with its secret to this `file` with mode 0600")
	f.BoolVar(&a.again, "new-credential", false, "make another token or secret id; the previous one stays valid")
	b.own("mount", "key", "type", "managed-key", "client", "auth", "period", "certificate", "out", "new-credential")
	b.nonEmpty("mount", "key", "type", "managed-key", "client", "auth", "period", "certificate", "out")
	return &command{base: b, name: "operator tenant add", args: "NAME", least: 1, most: 1,
		synopsis: "Give another system a key, a policy and a credential",
		about: `Makes everything that another system needs to use a key of the transit engine: the engine's mount, the key,
a policy with no more than the client's calls, and a credential. It prints the configuration for the other side, such as
the stanza seal "transit".

It can run again after an interruption: steps that were done are skipped. The token or secret id is shown once, when it
is made.

  $ sealgate operator tenant add acme -out=acme.hcl`,
		run: func(args []string) int {
			if !checkTenantName(b, args[0]) {
				return exitLocal
			}
			a.want.Name = args[0]
			return b.withClient(a.run)
		}}
}

func (a *tenantAdd) run(client *api.Client) int {
	a.client = client
	var file *outFile
	if a.out != "" { // before any secret is made
		var err error
		if file, err = a.createFile(a.out); err != nil {
			a.errorf("Error: %v", err)
			return exitLocal
		}
		if err := file.private(); err != nil {
			a.errorf("Error: %v", file.abort(err))
			return exitLocal
		}
	}
	err := a.steps()
	if err == nil && file != nil {
		if _, err = file.Write([]byte(a.done.Stanza)); err == nil {
			err = file.commit()
			file = nil
		}
	}
	if file != nil {
		err = file.abort(err)
	}
	if err != nil {
		return a.fail("adding the tenant "+a.want.Name, err)
	}
	return a.show()
}

// steps makes what is missing, in this order. The policy holds the record of the tenant and comes
// before the credential: so no credential exists without its tenant.
func (a *tenantAdd) steps() error {
	if err := a.settle(); err != nil {
		return err
	}
	certificate, err := a.readCertificate()
	if err != nil {
		return err
	}
	t := &a.want
	a.done = &tenantAdded{Tenant: t.Name, Mount: t.Mount, Key: t.Key, Policy: t.policyName(), Auth: t.Auth}
	for _, step := range []func() error{a.mount, a.key, a.record} {
		if err := step(); err != nil {
			return err
		}
	}
	switch t.Auth {
	case "token":
		err = a.token()
	case "approle":
		err = a.approle()
	case "cert":
		err = a.certificate(certificate)
	}
	a.done.Accessor = t.Accessor
	a.done.Stanza = a.stanza()
	return err
}

// settle takes the settings of a tenant that exists, and refuses flags that contradict them.
func (a *tenantAdd) settle() error {
	t := &a.want
	t.Mount, t.Key = strings.Trim(t.Mount, "/"), cmp.Or(t.Key, t.Name)
	old, err := readTenant(a.client, t.Name)
	if err != nil {
		return err
	}
	if old != nil {
		for _, f := range []struct{ flag, want, have string }{
			{"mount", t.Mount, old.Mount}, {"key", t.Key, old.Key}, {"client", t.Client, old.Client}, {"auth", t.Auth, old.Auth},
		} {
			if a.given(f.flag) && f.want != f.have {
				return fmt.Errorf("the tenant exists with -%s=%s: omit the flag, or choose another name", f.flag, f.have)
			}
		}
		*t = *old
		return nil
	}
	if err := t.check(); err != nil {
		return err
	}
	return a.keyIsFree()
}

// keyIsFree refuses a key that another tenant has: a suspension would meet both.
func (a *tenantAdd) keyIsFree() error {
	all, err := allTenants(a.client)
	if err != nil {
		return err
	}
	for _, other := range all {
		if other.Mount == a.want.Mount && other.Key == a.want.Key {
			return fmt.Errorf("the key %s/keys/%s is that of the tenant %s: choose another -key", other.Mount, other.Key,
				other.Name)
		}
	}
	return nil
}

func (a *tenantAdd) readCertificate() (string, error) {
	if (a.cert != "") != (a.want.Auth == "cert") {
		return "", errors.New("-certificate and -auth=cert belong together: give both, or none")
	}
	if a.cert == "" {
		return "", nil
	}
	pem, err := a.readAll(a.cert)
	return string(pem), err
}

// ensure mounts a backend of a type at a path of sys/mounts or sys/auth, unless it is there.
func (a *tenantAdd) ensure(table, path, kind string) error {
	var all map[string]any
	if _, err := readInto(a.client, table, &all); err != nil {
		return err
	}
	entry, ok := all[path+"/"].(map[string]any)
	switch {
	case !ok:
		_, err := send(a.client, http.MethodPost, table+"/"+path, map[string]string{"type": kind})
		return err
	case entry["type"] != kind:
		return fmt.Errorf("%s/%s is of the type %v, not %s: choose another path", table, path, entry["type"], kind)
	}
	return nil
}

func (a *tenantAdd) mount() error {
	if err := a.ensure("sys/mounts", a.want.Mount, "transit"); err != nil || a.managed == "" {
		return err
	}
	tune := "sys/mounts/" + a.want.Mount + "/tune"
	var have struct {
		Allowed []string `json:"allowed_managed_keys"`
	}
	if _, err := readInto(a.client, tune, &have); err != nil || slices.Contains(have.Allowed, a.managed) {
		return err
	}
	_, err := send(a.client, http.MethodPost, tune,
		map[string]any{"allowed_managed_keys": append(have.Allowed, a.managed)})
	return err
}

func (a *tenantAdd) key() error {
	path := a.want.Mount + "/keys/" + a.want.Key
	var k struct {
		Derived     bool `json:"derived"`
		SoftDeleted bool `json:"soft_deleted"`
		Encrypts    bool `json:"supports_encryption"`
	}
	found, err := readInto(a.client, path, &k)
	switch {
	case err != nil:
		return err
	case !found:
		made := map[string]string{"type": a.keyType}
		if a.managed != "" {
			made = map[string]string{"type": "managed_key", "managed_key_name": a.managed}
		}
		_, err := send(a.client, http.MethodPost, path, made)
		return err
	case k.SoftDeleted:
		return errors.New("the tenant is suspended: operator tenant resume")
	case a.sealing() && (k.Derived || !k.Encrypts):
		return fmt.Errorf("the key %s cannot serve a seal: that needs a key that encrypts and is not derived", a.want.Key)
	}
	return nil
}

// record writes the policy with the tenant's record.
func (a *tenantAdd) record() error {
	text, err := a.want.policy()
	if err != nil {
		return err
	}
	_, err = send(a.client, put, policiesPath+"/"+a.want.policyName(), map[string]string{"policy": text})
	return err
}

// issued reports whether the recorded credential still exists.
func (a *tenantAdd) issued(path, field string) (bool, error) {
	if a.want.Accessor == "" || a.again {
		return false, nil
	}
	_, err := send(a.client, http.MethodPost, path, map[string]string{field: a.want.Accessor})
	switch code := answered(err); {
	case code == http.StatusForbidden && !strings.Contains(err.Error(), "invalid accessor"):
		return false, err // this command line's token may not ask
	case code == http.StatusForbidden, code == http.StatusBadRequest, code == http.StatusNotFound:
		return false, nil
	}
	return err == nil, err
}

// token makes a periodic orphan token without the default policy.
func (a *tenantAdd) token() error {
	have, err := a.issued("auth/token/lookup-accessor", "accessor")
	if err != nil || have {
		return err
	}
	s, err := send(a.client, http.MethodPost, "auth/token/create-orphan", map[string]any{
		"policies": []string{a.want.policyName()}, "no_default_policy": true, "period": a.period, "renewable": true,
		"display_name": a.want.Name, "meta": map[string]string{"tenant": a.want.Name},
	})
	if err != nil {
		return err
	}
	if s == nil || s.Auth == nil || s.Auth.ClientToken == "" {
		return errors.New("the server's response has no token")
	}
	a.done.Token, a.previous = s.Auth.ClientToken, a.want.Accessor
	a.want.Accessor = s.Auth.Accessor
	return a.record()
}

// tokenSettings are those of the tokens that a login gets.
func (a *tenantAdd) tokenSettings(more map[string]any) map[string]any {
	more["token_policies"] = []string{a.want.policyName()}
	more["token_no_default_policy"] = true
	more["token_period"] = a.period
	return more
}

func (a *tenantAdd) approle() error {
	role := "auth/approle/role/" + a.want.policyName()
	if err := a.ensure("sys/auth", "approle", "approle"); err != nil {
		return err
	}
	if _, err := send(a.client, http.MethodPost, role,
		a.tokenSettings(map[string]any{"bind_secret_id": true})); err != nil {
		return err
	}
	var id struct {
		RoleID string `json:"role_id"`
	}
	if _, err := readInto(a.client, role+"/role-id", &id); err != nil {
		return err
	}
	a.done.RoleID = id.RoleID
	have, err := a.issued(role+"/secret-id-accessor/lookup", "secret_id_accessor")
	if err != nil || have {
		return err
	}
	s, err := send(a.client, http.MethodPost, role+"/secret-id", nil)
	if err != nil {
		return err
	}
	if s == nil {
		return errors.New("the server's response has no secret id")
	}
	a.previous = a.want.Accessor
	a.done.SecretID, _ = s.Data["secret_id"].(string)
	a.want.Accessor, _ = s.Data["secret_id_accessor"].(string)
	return a.record()
}

func (a *tenantAdd) certificate(pem string) error {
	if err := a.ensure("sys/auth", "cert", "cert"); err != nil {
		return err
	}
	_, err := send(a.client, http.MethodPost, "auth/cert/certs/"+a.want.policyName(),
		a.tokenSettings(map[string]any{"certificate": pem, "display_name": a.want.Name}))
	return err
}

// sealing reports whether the client is a server that unseals through the key.
func (a *tenantAdd) sealing() bool {
	return slices.Contains([]string{"openbao", "sealgate", "vault"}, a.want.Client)
}

// stanza is the configuration of the other side.
func (a *tenantAdd) stanza() string {
	t, d := a.want, a.done
	var lines []string
	secret := cmp.Or(d.Token, "file:///etc/"+t.Client+"/transit.token")
	switch {
	case t.Auth == "token" && d.Token == "":
		lines = append(lines, "# The token was shown when it was made; -new-credential makes another.")
	case t.Auth == "approle":
		lines = append(lines, "# An agent logs in with this role and writes the token to the file below.",
			"#   role_id   = "+d.RoleID)
		if d.SecretID != "" {
			lines = append(lines, "#   secret_id = "+d.SecretID)
		}
	case t.Auth == "cert":
		lines = append(lines, "# An agent logs in at auth/cert as "+t.policyName()+" and writes the token to the file below.")
	}
	if !a.sealing() {
		lines = append(lines, "address = "+a.client.Address(), "key     = "+t.Mount+"/keys/"+t.Key)
		if d.Token != "" {
			lines = append(lines, "token   = "+d.Token)
		}
		return strings.Join(lines, "\n") + "\n"
	}
	lines = append(lines, `seal "transit" {`, fmt.Sprintf("  address    = %q", a.client.Address()),
		fmt.Sprintf("  mount_path = %q", t.Mount+"/"), fmt.Sprintf("  key_name   = %q", t.Key),
		fmt.Sprintf("  token      = %q", secret))
	if strings.HasPrefix(a.client.Address(), "https:") {
		lines = append(lines, `  # tls_ca_cert = "/etc/`+t.Client+`/ca.pem"`)
	}
	return strings.Join(append(lines, "}"), "\n") + "\n"
}

func (a *tenantAdd) show() int {
	if a.out != "" { // the secret is in the file alone
		a.done.Token, a.done.SecretID, a.done.Stanza = "", "", ""
	}
	if a.format() != "table" {
		return a.encode(a.done)
	}
	a.errorf("The tenant %s may use %s/keys/%s with the policy %s.", a.done.Tenant, a.done.Mount,
		a.done.Key, a.done.Policy)
	if a.previous != "" && a.again {
		a.errorf("The previous credential is still valid: destroy it by its accessor %s.", a.previous)
	}
	if a.out != "" {
		a.printf("Wrote %s\n", a.out)
		return exitOK
	}
	exact(a.base, "%s", a.done.Stanza)
	return exitOK
}
