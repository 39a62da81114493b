package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/seals"
)

// The keys of seals and those of mounts exclude each other, in both directions and over time:
//
//	a key that a mount made, imported or adopted, ever   becomes no seal's key: somebody may know
//	                                                     its bytes (usedByMounts)
//	a key that a seal has or had                         becomes no mount's key as long as it is
//	                                                     not retired: snapshots may need it
//	                                                     (pastSeals, and device's guard)

// usedByMounts refuses a seal whose key a mount uses or has used.
func (s SealAdmin) usedByMounts(ctx context.Context, a *RoleState, m seals.Seal) error {
	owner, ok := m.Wrapper.(seals.KeyOwner)
	if !ok || a.devices == nil {
		return nil
	}
	used, err := a.devices.Used(ctx)
	if err != nil {
		return barrier.Fault(err, "nothing was changed: which keys mounts have used cannot be read")
	}
	for _, k := range used {
		if k.Type == m.Type && owner.OwnsKey(ctx, k.Identity) {
			return fault.New(fault.Invalid, "nothing was changed: the key of seal %q was made, imported or adopted for mounts "+
				"(device key %s), so that somebody may know its bytes; make a key of its own for the seal", m.Name, k.Label)
		}
	}
	return nil
}

// unusedByMounts is usedByMounts for the keys that a changed record uses and the one before did
// not, whichever way they come into it: by the configuration, a rewrap or a rotation.
func (s SealAdmin) unusedByMounts(ctx context.Context, a *RoleState, before, next *seals.Record) error {
	for i := range next.Parts {
		p := &next.Parts[i]
		was := partOf(before, p.Name)
		if was != nil && was.Type == p.Type && was.KeyID == p.KeyID {
			continue
		}
		if m, ok := s.n.seals.Load().Member(p.Name); ok && m.Type == p.Type {
			if err := s.usedByMounts(ctx, a, m); err != nil {
				return err
			}
		}
	}
	return nil
}

// unguarded says which seals and device keys may share a key that nothing here can compare.
func (s SealAdmin) unguarded(ctx context.Context, a *RoleState, members []SealMember) (out []string) {
	if a.devices == nil {
		return nil
	}
	used, err := a.devices.Used(ctx)
	if err != nil {
		return []string{"whether device keys and seals share keys is not known: " + err.Error()}
	}
	if past := s.n.pastSeals.Load(); past != nil {
		for _, p := range *past {
			if !slices.ContainsFunc(members, func(m SealMember) bool { return m.Name == p.Name }) {
				out = append(out, fmt.Sprintf("seal %q holds no part any more, and its key is kept from mounts, because snapshots "+
					"may need it: sealgate operator seals retire %s ends that", p.Name, p.Name))
			}
		}
	}
	for _, m := range members {
		if m.Type == "kmip" && slices.ContainsFunc(used, func(k device.UsedKey) bool { return k.Type == "pkcs11" }) {
			out = append(out, fmt.Sprintf("the key of seal %q (kmip) cannot be compared with the device keys of type pkcs11: "+
				"if both are in one HSM, give them accounts that do not see each other's keys", m.Name))
		}
	}
	return out
}

// pastSeal stands for a key that a seal had: it guards the key without a connection to it.
type pastSeal struct {
	wrapping.Wrapper // nil: nothing calls it

	kind, id string
}

// OwnsKey implements [seals.KeyOwner]. It compares what names the key whatever the Region, project,
// address, token or version; a key that cannot be compared may be the seal's.
func (p pastSeal) OwnsKey(_ context.Context, id string) bool {
	was, now := keyNames(p.kind, p.id), keyNames(p.kind, id)
	if len(was) == 0 || len(now) == 0 {
		return true
	}
	return slices.ContainsFunc(was, func(name string) bool { return slices.Contains(now, name) })
}

// keyNames returns what names a key in its device or service, by the canonical ids of its type.
func keyNames(kind, id string) (out []string) {
	after := func(mark, end string) []string {
		_, name, ok := strings.Cut(id, mark)
		if name, _, _ = strings.Cut(name, end); !ok || name == "" {
			return nil
		}
		return []string{strings.ToLower(name)}
	}
	switch kind {
	case "pkcs11": // an RFC 7512 URI: the label, or the id
		for part := range strings.SplitSeq(strings.TrimPrefix(id, "pkcs11:"), ";") {
			if name, value, _ := strings.Cut(part, "="); value != "" && (name == "object" || name == "id") {
				out = append(out, part)
			}
		}
		return out
	case "awskms":
		return after(":key/", " ")
	case "gcpckms":
		return after("/cryptoKeys/", "/")
	case "azurekeyvault", "transit":
		return after("/keys/", "/")
	}
	return nil
}

// loadPastSeals reads the keys that seals had and that are not retired.
func loadPastSeals(ctx context.Context, n *Node, b *barrier.Barrier) error {
	names, err := b.List(ctx, pathSealKeys, "", 0)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	past := []seals.Seal{}
	for _, name := range names {
		k, err := readSealKeys(ctx, b, name)
		if err != nil {
			return err
		}
		for _, o := range k.Old {
			if o.Type != "" {
				past = append(past, seals.Seal{Name: name, Type: o.Type, Wrapper: pastSeal{kind: o.Type, id: o.KeyID}})
			}
		}
	}
	n.pastSeals.Store(&past)
	return nil
}

// refreshPastSeals reads the keys again after a commit that may have changed them.
func refreshPastSeals(ctx context.Context, n *Node, a *RoleState) {
	if err := loadPastSeals(context.WithoutCancel(ctx), n, a.barrier); err != nil {
		n.log.Error("the keys that seals had before could not be read: mounts are refused those that were known before",
			"error", err)
	}
}
