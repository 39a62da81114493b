package sys

import (
	"context"
	"errors"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/node"
)

// sealRoutes change which seals hold the root key. They are ours.
var sealRoutes = []api.Route{
	{Methods: api.Get, Path: "sys/seals", Capability: policy.Read, Sudo: true, Handle: listSeals},
	{Methods: api.Get, Path: "sys/seals/forecast", Capability: policy.Read, Handle: forecast},
	{Methods: api.Write, Path: "sys/seals/add", Body: api.SmallBody, Capability: policy.Update, Sudo: true,
		Handle: addSeal},
	{Methods: api.Write, Path: "sys/seals/remove", Body: api.SmallBody, Capability: policy.Update, Sudo: true,
		Handle: removeSeal},
	{Methods: api.Write, Path: "sys/seals/policy", Body: api.SmallBody, Capability: policy.Update, Sudo: true,
		Handle: sealPolicy},
	{Methods: api.Write, Path: "sys/seals/rotate-key", Body: api.SmallBody, Capability: policy.Update, Sudo: true,
		Handle: rotateSealKey},
	{Methods: api.Write, Path: "sys/seals/retire", Body: api.SmallBody, Capability: policy.Update, Sudo: true,
		Handle: retireSealKey},
	{Methods: api.Write, Path: "sys/seals/rewrap", Body: api.SmallBody, Capability: policy.Update, Sudo: true,
		Handle: rewrapSeal},
	{Methods: api.Write, Path: "sys/seals/verify", Body: api.SmallBody, Capability: policy.Update, Sudo: true,
		Handle: verifySeals},
}

var sealDocs = map[string]api.Doc{
	"sys/seals": {Text: "Lists the seals that hold the root key, their policy, the losses it survives, and what each " +
		"node has proven."},
	"sys/seals/forecast": {Text: "Says whether each node would unseal if all restarted now."},
	"sys/seals/add": {Text: "Makes a configured seal hold the root key, once every node has proven that it can use it. " +
		"Where \"done\" is false, the same request continues.", Read: true,
		Body: []api.DocField{{"name", "string", "The seal's name in the configuration."},
			{"policy", "string", "The policy with the new seal; required where the policy has groups."},
			{"replaces", "list", "Seals that lose the root key in the same commit; they may be lost."}}},
	"sys/seals/remove": {Text: "Takes the root key from a seal, and replaces it.", Read: true,
		Body: []api.DocField{{"name", "string", "The seal's name."}}},
	"sys/seals/policy": {Text: "Changes which of the seals unseal together.", Read: true,
		Body: []api.DocField{{"threshold", "integer", "Seals needed; 1: any of them."},
			{"policy", "string", "In place of the threshold, with each member once: any(hsm_a, hsm_b) and kms."}}},
	"sys/seals/rotate-key": {Text: "Makes a new key of a seal, or a new version of it, where its provider can, and " +
		"wraps the root key by it once every node has proven it. Where \"done\" is false, the same request " +
		"continues.", Read: true,
		Body: []api.DocField{{"name", "string", "The seal's name."},
			{"key_id", "string", "Id of a key that was made by other means: a CKA_ID in hexadecimal."}}},
	"sys/seals/retire": {Text: "Ends the use of a key that a seal had before a rotation, and destroys it where that is " +
		"asked. The warnings name the snapshots that need it.", Read: true,
		Body: []api.DocField{{"name", "string", "The seal's name."},
			{"key", "string", "The key's id or version; empty: the only old key."},
			{"destroy", "boolean", "Destroy the key, which needs a quorum of shares."}}},
	"sys/seals/rewrap": {Text: "Wraps the root key again by the newest version of a seal's key.", Read: true,
		Body: []api.DocField{{"name", "string", "The seal's name; empty: every seal."}}},
	"sys/seals/verify": {Text: "Proves now that every seal of the active node would unseal it.", Read: true},
}

func listSeals(ctx context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	return shown(node.SealAdminOf(h.Node).List(ctx))
}

func verifySeals(ctx context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	return shown(node.SealAdminOf(h.Node).Verify(ctx))
}

func forecast(ctx context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	return shown(node.SealAdminOf(h.Node).Forecast(ctx))
}

// shown answers with a value, or with the error.
func shown[T any](v *T, err error) (*api.Answer, error) {
	if err != nil {
		return nil, err
	}
	return api.Show(v)
}

// sealName reads the name of a seal; "" is allowed where every seal can be meant.
func sealName(q *api.Request, every bool) (name string, err error) {
	data, err := q.Object()
	if err != nil {
		return "", err
	}
	if err := field.Map(data).Text("name", &name); err != nil {
		return "", err
	}
	if name == "" && !every {
		return "", errNoSeal
	}
	return name, nil
}

func changer(q *api.Request) ceremony.Starter {
	return ceremony.Starter{
		Accessor: q.Identity.Accessor, DisplayName: q.Identity.DisplayName, Root: q.Identity.Root,
	}
}

func addSeal(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	name, err := sealName(q, false)
	if err != nil {
		return nil, err
	}
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	var policy string
	var lost []string
	if err := errors.Join(field.Map(data).Text("policy", &policy), field.Map(data).List("replaces", &lost)); err != nil {
		return nil, err
	}
	return sealChanged(node.SealAdminOf(h.Node).Replace(ctx, name, policy, lost, changer(q)))
}

func removeSeal(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	name, err := sealName(q, false)
	if err != nil {
		return nil, err
	}
	return sealChanged(node.SealAdminOf(h.Node).Remove(ctx, name, changer(q)))
}

func rewrapSeal(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	name, err := sealName(q, true)
	if err != nil {
		return nil, err
	}
	return sealChanged(node.SealAdminOf(h.Node).Rewrap(ctx, name, changer(q)))
}

func rotateSealKey(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	var in struct{ name, keyID string }
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	fields := field.Map(data)
	if err := errors.Join(fields.Text("name", &in.name), fields.Text("key_id", &in.keyID)); err != nil {
		return nil, err
	}
	if in.name == "" {
		return nil, errNoSeal
	}
	return sealChanged(node.SealAdminOf(h.Node).RotateKey(ctx, in.name, in.keyID, changer(q)))
}

var errNoSeal = fault.New(fault.Invalid, "missing name of the seal")

func retireSealKey(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	var in struct {
		name, key string
		destroy   bool
	}
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	fields := field.Map(data)
	err = errors.Join(fields.Text("name", &in.name), fields.Text("key", &in.key), fields.Flag("destroy", &in.destroy))
	if err != nil {
		return nil, err
	}
	if in.name == "" {
		return nil, errNoSeal
	}
	return sealChanged(node.SealAdminOf(h.Node).Retire(ctx, in.name, in.key, in.destroy, changer(q)))
}

func sealPolicy(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	var threshold int64
	var text string
	m := field.Map(data)
	if err := errors.Join(m.Number("threshold", &threshold), m.Text("policy", &text)); err != nil {
		return nil, err
	}
	switch {
	case text != "" && threshold != 0:
		return nil, fault.New(fault.Invalid, "give the policy or the threshold, not both")
	case text != "":
		return sealChanged(node.SealAdminOf(h.Node).SetPolicy(ctx, text, changer(q)))
	}
	return sealChanged(node.SealAdminOf(h.Node).Policy(ctx, int(threshold), changer(q)))
}

// sealChanged answers with the result of a change; its warnings are those of the answer too.
func sealChanged(c *node.SealChange, err error) (*api.Answer, error) {
	a, err := shown(c, err)
	if err == nil && len(c.Warnings) > 0 {
		a.Warnings = c.Warnings
	}
	return a, err
}
