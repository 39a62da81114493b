package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/openbao/openbao/api/v2"
)

// printShares prints the new shares before anything else that could fail. It acknowledges them to
// the server only after they were written; otherwise it explains how to fetch them again.
func (r *rekey) printShares(s *rekeyStatus, share, nonce string, threshold int) int {
	text, err := r.sharesText(s, threshold)
	if err == nil {
		err = r.deliver(visible(text))
	}
	if err != nil {
		r.errorf("Error printing the new shares: %v\n", err)
		r.explainFetching(s, nonce)
		return exitLocal
	}
	if share != "" && len(s.Keys)+len(s.KeysB64) > 0 {
		r.acknowledge(share, nonce)
	}
	if s.VerificationRequired && r.format() == "table" {
		return r.showVerification()
	}
	return exitOK
}

func (r *rekey) explainFetching(s *rekeyStatus, nonce string) {
	switch {
	case len(s.Keys)+len(s.KeysB64) == 0:
		r.errorf("The root key was replaced nevertheless; there were no new shares to print.")
	case nonce != "":
		r.errorf("The server still keeps them for a few minutes. Fetch them with the same share:\n\n    sealgate %s\n",
			r.again(nonce))
	case s.VerificationRequired:
		r.errorf("They cannot be fetched again, and are not in force yet: cancel with -cancel and start again.")
	default:
		r.errorf("They cannot be fetched again: start another rekey.")
	}
}

// acknowledge confirms to the server that the new shares arrived, so that it wipes its copy. Other
// servers keep none.
func (r *rekey) acknowledge(share, nonce string) {
	err := r.send(context.Background(), http.MethodPut, "acknowledge", map[string]string{"key": share, "nonce": nonce},
		nil)
	if err != nil && !unserved(err) {
		r.errorf("Note: acknowledging the new shares failed. The server keeps its encrypted copy until it expires.\n%s",
			errorText(err))
	}
}

// deliver prints text that must not be lost and reports whether it was written. It syncs standard
// output if that is a file, and survives SIGPIPE.
func (b *base) deliver(text string) error {
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	defer signal.Stop(broken)
	if _, err := fmt.Fprint(b.env.Stdout, text); err != nil {
		return err
	}
	f, ok := b.env.Stdout.(*os.File)
	if !ok {
		return nil
	}
	// Pipes and terminals cannot be synced.
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) &&
		!errors.Is(err, syscall.EROFS) {
		return err
	}
	return nil
}

// sharesText is the output of a complete operation.
func (r *rekey) sharesText(s *rekeyStatus, threshold int) (string, error) {
	if r.format() != "table" {
		return r.encoded(api.RotateUpdateResponse{
			Nonce: s.Nonce, Complete: true, Keys: s.Keys, KeysB64: s.KeysB64, PGPFingerprints: s.PGPFingerprints,
			Backup: s.Backup, VerificationRequired: s.VerificationRequired, VerificationNonce: s.VerificationNonce,
		})
	}
	parts := []string{""}
	if len(s.KeysB64) > 0 {
		parts = append(parts, keyLines(s))
	}
	if len(s.KeysB64) > 0 && len(r.holders) > 0 {
		parts = append(parts, whose(r.holders))
	}
	if s.Nonce != "" {
		parts = append(parts, "Operation nonce: "+s.Nonce+"\n")
	}
	if s.Backup {
		parts = append(parts, "The server keeps the encrypted shares: see -backup-retrieve and -backup-delete.\n")
	}
	return strings.Join(append(parts, r.consequence(s, threshold)), "\n"), nil
}

func keyLines(s *rekeyStatus) string {
	var w strings.Builder
	for i, key := range s.KeysB64 {
		if i < len(s.PGPFingerprints) {
			fmt.Fprintf(&w, "Key %d fingerprint: %s; value: %s\n", i+1, s.PGPFingerprints[i], key)
			continue
		}
		fmt.Fprintf(&w, "Key %d: %s\n", i+1, key)
	}
	return w.String()
}

// consequence describes which shares are valid now.
func (r *rekey) consequence(s *rekeyStatus, threshold int) string {
	switch {
	case s.VerificationRequired:
		return fmt.Sprintf("The new shares are not in force yet: the old ones stay valid until a quorum of the new ones\n"+
			"was verified, each with\n\n    sealgate %s -verify -target=%s -nonce=%s\n\n", r.variant.command, r.target,
			s.VerificationNonce)
	case len(s.KeysB64) == 0:
		return "The root key was replaced. The recovery shares are the same as before.\n"
	}
	needed := ""
	if threshold > 0 { // a response that is fetched again does not have it
		needed = fmt.Sprintf(" and a key threshold of %d", threshold)
	}
	return fmt.Sprintf("%s with %d key shares%s. Give each share to a\n"+
		"different custodian now: they are not shown again, and the old ones are invalid.\n", r.variant.done, len(s.KeysB64),
		needed)
}
