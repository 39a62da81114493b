package cli

import (
	"cmp"
	"fmt"
	"net/http"
)

// verification is contract 2.4's object.
type verification struct {
	Nonce    string `json:"nonce"`
	Started  bool   `json:"started"`
	T        int    `json:"t"`
	N        int    `json:"n"`
	Progress int    `json:"progress"`
	Complete bool   `json:"complete,omitempty"`
}

func (r *rekey) verification(method string, in any) (*verification, error) {
	v := &verification{}
	return v, call(r.client, method, r.path+"/verify", in, v)
}

func (r *rekey) showVerification() int {
	v, err := r.verification(http.MethodGet, nil)
	if err != nil {
		return r.fail("reading rekey verification status", err)
	}
	return r.printVerification(v)
}

func (r *rekey) printVerification(v *verification) int {
	if r.format() != "table" {
		return r.encode(v)
	}
	var p pairs
	p.add("Started", v.Started)
	p.add("New Shares", v.N)
	p.add("New Threshold", v.T)
	p.add("Verification Nonce", v.Nonce)
	p.add("Verification Progress", fmt.Sprintf("%d/%d", v.Progress, v.T))
	r.printf("%s", p)
	return exitOK
}

func (r *rekey) restartVerification() int {
	if _, err := r.verification(http.MethodDelete, nil); err != nil {
		return r.fail("canceling rekey verification", err)
	}
	r.printf("Success! Canceled rekey verification progress; the new shares must be given anew, with a new nonce\n")
	return exitOK
}

// proveAll gives new shares, to prove that their holders have them.
func (r *rekey) proveAll(args []string) int {
	v, err := r.verification(http.MethodGet, nil)
	if err != nil {
		return r.fail("reading rekey verification status", err)
	}
	if len(args) > 0 && r.nonce == "" {
		r.errorf("Missing nonce value: specify it via the -nonce flag")
		return exitLocal
	}
	nonce := cmp.Or(r.nonce, v.Nonce)
	if len(args) == 0 {
		r.errorf("Rekey verification nonce: %s", nonce)
	}
	last := v
	done, code := r.gather(quorum{
		command: r.again(nonce) + " -verify", question: "New Key (will be hidden): ", doing: "posting key for verification", args: args,
		give: func(share string) (progress, error) {
			answer, err := r.verification(http.MethodPut, map[string]string{"key": share, "nonce": nonce})
			if err != nil {
				return progress{}, err
			}
			last = answer
			return progress{answer.Complete, answer.Progress, answer.T}, nil
		},
	})
	switch {
	case code != exitOK:
		return code
	case !done:
		return r.printVerification(last)
	case r.format() != "table":
		return r.encode(last)
	}
	r.printf("Success! Rekey verification completed; the new shares are in force, and the\nold ones are void. The nonce was %s.\n", nonce)
	return exitOK
}
