package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
)

// verification is contract 2.4's object.
type verification struct {
	Nonce        string   `json:"nonce"`
	Started      bool     `json:"started"`
	T            int      `json:"t"`
	N            int      `json:"n"`
	Progress     int      `json:"progress"`
	HoldersGiven []string `json:"holders_given,omitempty"`
	Complete     bool     `json:"complete,omitempty"`
}

func (v *verification) standing() progress {
	return progress{v.Complete, v.Progress, v.T, v.HoldersGiven}
}

func (r *rekey) verification(ctx context.Context, method string, in any) (*verification, error) {
	v := &verification{}
	return v, r.ask(ctx, method, "verify", in, v)
}

func (r *rekey) showVerification() int {
	v, err := r.verification(context.Background(), http.MethodGet, nil)
	if err != nil {
		return r.fail("reading "+r.face.noun+" verification status", err)
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
	if len(v.HoldersGiven) > 0 {
		p.add("Given By", strings.Join(v.HoldersGiven, ", "))
	}
	r.printf("%s", p)
	return exitOK
}

func (r *rekey) restartVerification() int {
	v, err := r.verification(context.Background(), http.MethodDelete, nil)
	if err != nil {
		return r.fail("canceling "+r.face.noun+" verification", err)
	}
	if r.format() != "table" {
		return r.encode(v)
	}
	r.printf("Success! Canceled %s verification progress; the new shares must be given anew, with a new nonce\n", r.face.noun)
	if v.Nonce != "" {
		r.printf("\n    sealgate %s -verify\n", r.again(v.Nonce))
	}
	return exitOK
}

// proveAll gives new shares, to prove that their holders have them.
func (r *rekey) proveAll(args []string) int {
	v, err := r.verification(context.Background(), http.MethodGet, nil)
	if err != nil {
		return r.fail("reading "+r.face.noun+" verification status", err)
	}
	if len(args) > 0 && r.nonce == "" {
		r.errorf("Missing nonce value: specify it via the -nonce flag")
		return exitLocal
	}
	nonce := cmp.Or(r.nonce, v.Nonce)
	if len(args) == 0 {
		r.errorf("%s verification nonce: %s", title(r.face.noun), nonce)
	}
	last := v
	done, code := r.gather(quorum{
		command: r.again(nonce) + " -verify", question: "New Key (will be hidden): ", doing: "posting key for verification",
		args: args, result: "the confirmation",
		give: func(ctx context.Context, share string) (progress, error) {
			answer, err := r.verification(ctx, http.MethodPut, map[string]string{"key": share, "nonce": nonce})
			if err != nil {
				return progress{}, err
			}
			last = answer
			return answer.standing(), nil
		},
		status: func() (progress, error) {
			answer, err := r.verification(context.Background(), http.MethodGet, nil)
			if err != nil {
				return progress{}, err
			}
			last = answer
			return answer.standing(), nil
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
	r.printf("Success! %s verification completed; the new shares are in force, and the\nold ones are void. The nonce was %s.\n",
		title(r.face.noun), nonce)
	return exitOK
}
