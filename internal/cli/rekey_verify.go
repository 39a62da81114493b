package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
)

// verification is the response of .../verify.
type verification struct {
	Nonce        string   `json:"nonce"`
	Started      bool     `json:"started"`
	T            int      `json:"t"`
	N            int      `json:"n"`
	Given        int      `json:"progress"`
	HoldersGiven []string `json:"holders_given,omitempty"`
	Complete     bool     `json:"complete,omitempty"`
}

func (v *verification) progress() progress {
	return progress{v.Complete, v.Given, v.T, v.HoldersGiven}
}

func (r *rekey) verification(ctx context.Context, method string, in any) (*verification, error) {
	v := &verification{}
	return v, r.send(ctx, method, "verify", in, v)
}

func (r *rekey) showVerification() int {
	v, err := r.verification(context.Background(), http.MethodGet, nil)
	if err != nil {
		return r.fail("reading "+r.variant.noun+" verification status", err)
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
	p.add("Verification Progress", fmt.Sprintf("%d/%d", v.Given, v.T))
	if len(v.HoldersGiven) > 0 {
		p.add("Given By", strings.Join(v.HoldersGiven, ", "))
	}
	r.printf("%s", p)
	return exitOK
}

func (r *rekey) restartVerification() int {
	v, err := r.verification(context.Background(), http.MethodDelete, nil)
	if err != nil {
		return r.fail("canceling "+r.variant.noun+" verification", err)
	}
	if r.format() != "table" {
		return r.encode(v)
	}
	r.printf("Success! Canceled %s verification progress; give the new shares again, with a new nonce\n", r.variant.noun)
	if v.Nonce != "" {
		r.printf("\n    sealgate %s -verify\n", r.again(v.Nonce))
	}
	return exitOK
}

// verifyShares gives new shares, which proves that their holders have them.
func (r *rekey) verifyShares(args []string) int {
	v, err := r.verification(context.Background(), http.MethodGet, nil)
	if err != nil {
		return r.fail("reading "+r.variant.noun+" verification status", err)
	}
	if len(args) > 0 && r.nonce == "" {
		r.errorf("Missing nonce value: specify it via the -nonce flag")
		return exitLocal
	}
	nonce := cmp.Or(r.nonce, v.Nonce)
	if len(args) == 0 {
		r.errorf("%s verification nonce: %s", title(r.variant.noun), nonce)
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
			return answer.progress(), nil
		},
		status: func() (progress, error) {
			answer, err := r.verification(context.Background(), http.MethodGet, nil)
			if err != nil {
				return progress{}, err
			}
			last = answer
			return answer.progress(), nil
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
	r.printf("Success! %s verification completed; the new shares are in force, and the\nold ones are invalid. The nonce "+
		"was %s.\n",
		title(r.variant.noun), nonce)
	return exitOK
}
