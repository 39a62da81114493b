package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// secrets are the secret values that one server issued or received. Every harness searches for them
// at its end, in all that the server printed and wrote; and in every error, when it comes.
type secrets struct {
	mu  sync.Mutex
	all map[string]string // the text, and what it is
}

func (s *secrets) add(what, text string) {
	if text == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]string{}
	}
	s.all[text] = what
}

// addShare adds the forms that a share has.
func (s *secrets) addShare(text string) {
	raw, err := hex.DecodeString(text)
	if err != nil {
		if raw, err = base64.StdEncoding.DecodeString(text); err != nil {
			return
		}
	}
	s.add("a share in base64", base64.StdEncoding.EncodeToString(raw))
	s.add("a share in hexadecimal", hex.EncodeToString(raw))
	s.add("a share", string(raw))
}

func (s *secrets) copy() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.all)
}

// in returns what of the secrets a text contains.
func (s *secrets) in(text []byte) []string {
	var found []string
	for secret, what := range s.copy() {
		if bytes.Contains(text, []byte(secret)) {
			found = append(found, what)
		}
	}
	return found
}

// Do is the server's, and keeps the secrets that answers bring. An error that shows one fails the
// test.
func (r *harness) Do(ctx context.Context, method, path, token string, body any) (Reply, error) {
	reply, err := r.Server.Do(ctx, method, path, token, body)
	if err == nil {
		r.learn(method+" "+path, reply)
	}
	return reply, err
}

func (r *harness) learn(request string, reply Reply) {
	if reply.Code >= 400 {
		if found := r.known.in(reply.Body); len(found) > 0 {
			r.t.Errorf("the error of %s shows %v: %s", request, found, reply.Body)
		}
		return
	}
	var got struct {
		Nonce        string
		RootToken    string `json:"root_token"`
		Keys         []string
		RecoveryKeys []string `json:"recovery_keys"`
	}
	if reply.Decode(&got) != nil {
		return
	}
	r.known.add("a nonce", got.Nonce)
	r.known.add("the root token", got.RootToken)
	for _, share := range append(got.Keys, got.RecoveryKeys...) {
		r.known.addShare(share)
	}
}

// checkSecrets looks for secrets in the log, and in the files that the server wrote. A nonce may be
// on the disk: it is behind the barrier.
func (r *harness) checkSecrets() {
	for _, what := range r.known.in([]byte(r.Log())) {
		r.t.Errorf("%s is in the server's log", what)
	}
	err := filepath.WalkDir(filepath.Join(r.Dir, "data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, what := range r.known.in(raw) {
			r.t.Errorf("%s is in the file %s", what, strings.TrimPrefix(path, r.Dir))
		}
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		r.t.Error(err)
	}
}
