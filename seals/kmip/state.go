package kmip

import (
	"context"
	"fmt"
	"strconv"

	"github.com/sealgate/sealgate/seals"
)

// states are the states of a key, KMIP 1.4 section 3.22, and the seal's words for them.
var states = map[uint32]struct{ name, word string }{
	1: {"Pre-Active", "disabled"}, 2: {"Active", "enabled"}, 3: {"Deactivated", "disabled"},
	4: {"Compromised", "disabled"}, 5: {"Destroyed", "destroyed"}, 6: {"Destroyed Compromised", "destroyed"},
}

// attributes are what the server reports of the key.
type attributes struct {
	state, algorithm, bits, mask uint32
}

func (w *Wrapper) attributes(ctx context.Context) (a attributes, err error) {
	names := map[string]*uint32{
		"State": &a.state, "Cryptographic Algorithm": &a.algorithm, "Cryptographic Length": &a.bits,
		"Cryptographic Usage Mask": &a.mask,
	}
	out, err := w.do(ctx, opGetAttributes, func(version) []item {
		p := []item{text(tagID, w.settings.key)}
		for _, name := range []string{"State", "Cryptographic Algorithm", "Cryptographic Length",
			"Cryptographic Usage Mask"} {
			p = append(p, text(tagAttributeName, name))
		}
		return p
	})
	if err != nil {
		return attributes{}, err
	}
	for _, i := range out.items {
		if to := names[i.find(tagAttributeName).text()]; to != nil {
			*to, _ = i.find(tagAttributeValue).number()
		}
	}
	return a, nil
}

// Describe reports the state of the key.
func (w *Wrapper) Describe(ctx context.Context) (seals.KeyState, error) {
	ctx, cancel := context.WithTimeout(ctx, w.settings.timeout)
	defer cancel()
	a, err := w.attributes(ctx)
	if err != nil {
		return seals.KeyState{}, w.failure(ctx, "describe", err)
	}
	v := w.client.version.Load()
	st := seals.KeyState{ID: w.settings.key, State: states[a.state].word, Detail: map[string]string{
		"KMIP": fmt.Sprintf("1.%d", v), "state": states[a.state].name, "additional data": "bound here, by the data key",
	}}
	if v >= 4 {
		st.Detail["additional data"] = "bound by the server and here"
	}
	if a.bits > 0 {
		st.Detail["bits"] = strconv.Itoa(int(a.bits))
	}
	switch a.state {
	case 1:
		st.Detail["degraded"] = "the key is Pre-Active: activate it at the server"
	case 3, 4:
		st.Detail["degraded"] = "the key is " + states[a.state].name + ": it may unseal where the server allows that, and " +
			"wraps nothing; wrap by another key before it is destroyed"
	}
	if a.state == 2 && (a.algorithm != algorithmAES || a.mask&maskBoth != maskBoth) {
		st.Detail["degraded"] = "the key is no AES key whose usage mask has Encrypt and Decrypt"
	}
	return st, nil
}
