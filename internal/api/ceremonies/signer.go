package ceremonies

import (
	"context"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/cosigner"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/recovery/transcript/cosign"
)

// signerRoutes are ours: the key in a device that signs the transcript.
var signerRoutes = []api.Route{
	{Methods: api.Get, Path: "sys/config/transcript", Capability: policy.Read, Handle: readSigner},
	{Methods: api.Write, Path: "sys/config/transcript", Body: api.SmallBody, Capability: policy.Update, Sudo: true,
		Handle: setSigner},
	{Methods: api.Remove, Path: "sys/config/transcript", Capability: policy.Delete, Sudo: true, Handle: removeSigner},
}

var signerDocs = map[string]api.Doc{
	"sys/config/transcript": {
		Text: "The key in an HSM or KMS that signs the records of the transcript. It is tried before it is stored.",
		Body: []api.DocField{{"managed_key", "string", "A managed key that no mount may use, as <type>/<name>."}},
	},
}

type signerAnswer struct {
	ManagedKey  string         `json:"managed_key"` // "": no key signs
	Name        string         `json:"name"`        // of the signer, in co-signatures
	PublicKey   string         `json:"public_key"`  // a line of authorized_keys
	Fingerprint string         `json:"fingerprint"`
	FromRecord  uint64         `json:"from_record"`
	Unsigned    int            `json:"unsigned"`
	First       uint64         `json:"first_unsigned"` // 0: none
	Failure     *signerFailure `json:"failure"`        // why they are not signed; null: they are, or will be soon
}

type signerFailure struct {
	Class string `json:"class"`
	Text  string `json:"text"`
	Since string `json:"since"`
}

func readSigner(ctx context.Context, _ *api.Handler, q *api.Request) (*api.Answer, error) {
	st, err := q.Role.CoSigner().State(ctx)
	if err != nil {
		return nil, err
	}
	return api.Show(showSigner(st))
}

func showSigner(st cosigner.State) signerAnswer {
	a := signerAnswer{ManagedKey: st.Key, PublicKey: st.PublicKey, Fingerprint: st.Fingerprint, FromRecord: st.From,
		Unsigned: st.Unsigned, First: st.First}
	if st.Key != "" {
		a.Name = cosign.DeviceName(st.Key)
	}
	if f := st.Failure; f != nil {
		a.Failure = &signerFailure{string(f.Class), f.Text, f.Since.UTC().Format(time.RFC3339)}
	}
	return a
}

func setSigner(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	var key string
	if err := field.Map(data).Text("managed_key", &key); err != nil {
		return nil, err
	}
	if key == "" {
		return nil, fault.New(fault.Invalid, "missing required field: managed_key, as <type>/<name>")
	}
	if err := q.Role.CoSigner().Set(ctx, key, starter(q)); err != nil {
		return nil, err
	}
	return readSigner(ctx, h, q)
}

func removeSigner(ctx context.Context, _ *api.Handler, q *api.Request) (*api.Answer, error) {
	if err := q.Role.CoSigner().Remove(ctx, starter(q)); err != nil {
		return nil, err
	}
	return api.Done()
}
