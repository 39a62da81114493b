package importer

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"strings"
)

// methodContent copies what is behind the mounts of each type.
var methodContent = map[string]func(r *run, ctx context.Context, path string, m mountEntry) error{
	"approle":    appRole,
	"userpass":   userpass,
	"cert":       certificates,
	"jwt":        jwt,
	"oidc":       jwt,
	"kubernetes": kubernetes,
}

func authMethods(r *run, ctx context.Context) error {
	role := document{kind: "token role", drop: []string{"name"}, always: nil}
	if err := r.folder(ctx, "auth/token/roles", role); err != nil {
		return err
	}
	return r.mounts(ctx, "sys/auth", "auth method", methodTypes, func(ctx context.Context, path string,
		m mountEntry,
	) error {
		return methodContent[m.Type](r, ctx, "auth/"+path, m)
	})
}

// appRole copies roles with their role ids. Secret ids are kept by their hashes and cannot be read;
// the report names their accessors.
func appRole(r *run, ctx context.Context, path string, _ mountEntry) error {
	roles := path + "/role"
	names, err := r.from.list(ctx, roles)
	if err != nil {
		return r.settle(ctx, Item{Kind: "approle", Path: roles}, err)
	}
	for _, name := range names {
		d := document{kind: "approle", path: roles + "/" + name,
			drop: []string{"policies", "period", "bound_cidr_list", "role_id"}}
		if err := checkName(name); err != nil {
			r.add(Item{Kind: d.kind, Path: d.path, Outcome: Left, Reason: err.Error()})
			continue
		}
		d.hidden = func(ctx context.Context, fields map[string]any) ([]string, error) {
			var id struct {
				RoleID string `json:"role_id"`
			}
			found, err := r.from.read(ctx, d.path+"/role-id", nil, &id)
			if err == nil && !found {
				err = left("the source does not show the role id")
			}
			fields["role_id"] = id.RoleID
			return nil, err
		}
		if err := r.copyDocument(ctx, d); err != nil {
			return err
		}
		if err := r.roleID(ctx, d.path); err != nil {
			return err
		}
		if err := r.secretIDs(ctx, d.path); err != nil {
			return err
		}
	}
	return nil
}

// roleID compares the role id of a role that exists.
func (r *run) roleID(ctx context.Context, role string) error {
	path := role + "/role-id"
	var want, have struct {
		RoleID string `json:"role_id"`
	}
	_, err := r.from.read(ctx, path, nil, &want)
	found := false
	if err == nil {
		found, err = r.to.read(ctx, path, nil, &have)
	}
	if err == nil && (!found || want == have) {
		return nil
	}
	item := Item{Kind: "role id", Path: path, Outcome: Updated}
	if err == nil {
		if err = r.clash("the role has another role id at the destination"); err == nil && !r.DryRun {
			err = r.to.write(ctx, path, want)
		}
	}
	return r.settle(ctx, item, err)
}

func (r *run) secretIDs(ctx context.Context, role string) error {
	accessors, err := r.from.list(ctx, role+"/secret-id")
	item := Item{Kind: "secret id", Path: role + "/secret-id"}
	if err == nil && len(accessors) == 0 {
		return nil
	}
	if err == nil {
		err = left("%d secret ids cannot be read: make new ones; accessors at the source: %s", len(accessors),
			strings.Join(accessors, ", "))
	}
	return r.settle(ctx, item, err)
}

// userpass copies users. Their passwords cannot be read: a user is made with a random password that
// nobody knows, unless the source shows the hash.
func userpass(r *run, ctx context.Context, path string, m mountEntry) error {
	users := path + "/users"
	names, err := r.from.list(ctx, users)
	if err != nil {
		return r.settle(ctx, Item{Kind: "user", Path: users}, err)
	}
	for _, name := range names {
		d := document{kind: "user", path: users + "/" + name}
		if err := checkName(name); err != nil {
			r.add(Item{Kind: d.kind, Path: d.path, Outcome: Left, Reason: err.Error()})
			continue
		}
		made, unknown := false, ""
		d.hidden = func(ctx context.Context, fields map[string]any) ([]string, error) {
			made = true
			hash, why := r.passwordHash(ctx, m.UUID, name)
			if unknown = why; hash != "" {
				fields["password_hash"] = hash
				return nil, nil
			}
			password, err := randomPassword(r.Rand)
			fields["password"] = password
			return nil, err
		}
		if err := r.copyDocument(ctx, d); err != nil {
			return err
		}
		if made && unknown != "" {
			r.add(Item{Kind: "password", Path: d.path, Outcome: Left, Reason: unknown +
				": the user was made with a random password that nobody knows; write another to " + d.path + "/password"})
		}
	}
	return nil
}

// passwordHash reads the hash of a user's password in the source's storage, or says why not.
func (r *run) passwordHash(ctx context.Context, mount, user string) (hash, why string) {
	if !r.PasswordHashes {
		return "", "a password cannot be read (its hash can by -password-hashes, where the source has " +
			"raw_storage_endpoint)"
	}
	var raw struct {
		Value string `json:"value"`
	}
	found, err := r.from.read(ctx, "sys/raw/auth/"+mount+"/user/"+strings.ToLower(user), nil, &raw)
	var entry struct {
		Hash []byte `json:"PasswordHash"`
	}
	switch {
	case err != nil:
		return "", "its hash cannot be read: " + err.Error()
	case !found || decode([]byte(raw.Value), &entry) != nil || len(entry.Hash) == 0:
		return "", "its hash is not where it is expected in the source's storage"
	}
	return string(entry.Hash), ""
}

const passwordSize = 32

func randomPassword(from io.Reader) (string, error) {
	if from == nil {
		from = rand.Reader
	}
	b := make([]byte, passwordSize)
	defer clear(b)
	if _, err := io.ReadFull(from, b); err != nil {
		return "", fmt.Errorf("making a password: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

func certificates(r *run, ctx context.Context, path string, _ mountEntry) error {
	return r.folder(ctx, path+"/certs", document{kind: "cert role"})
}

// jwt copies the configuration and the roles of jwt and oidc.
func jwt(r *run, ctx context.Context, path string, _ mountEntry) error {
	return r.configured(ctx, path, path+"/role", "jwt role", func(fields map[string]any) []string {
		if blank(fields["oidc_client_id"]) {
			return nil
		}
		return []string{"oidc_client_secret cannot be read: write it to the configuration"}
	})
}

func kubernetes(r *run, ctx context.Context, path string, _ mountEntry) error {
	return r.configured(ctx, path, path+"/role", "kubernetes role", func(fields map[string]any) []string {
		if blank(fields["token_reviewer_jwt_set"]) {
			return nil
		}
		return []string{"token_reviewer_jwt cannot be read: write it to the configuration"}
	})
}

// configured copies a method's configuration, where it has one, and its roles.
func (r *run) configured(ctx context.Context, path, roles, kind string, notes func(map[string]any) []string) error {
	var fields map[string]any
	found, err := r.from.read(ctx, path+"/config", nil, &fields)
	if err != nil {
		if err := r.settle(ctx, Item{Kind: "auth configuration", Path: path + "/config"}, err); err != nil {
			return err
		}
	}
	maps.DeleteFunc(fields, func(_ string, v any) bool { return blank(v) })
	if found && len(fields) > 0 {
		d := document{kind: "auth configuration", path: path + "/config", always: notes,
			drop: []string{"token_reviewer_jwt_set", "status"}}
		if err := r.copyDocument(ctx, d); err != nil {
			return err
		}
	}
	return r.folder(ctx, roles, document{kind: kind, drop: []string{"name"}})
}
