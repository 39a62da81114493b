package gcpkms

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"time"
)

// tokenLife is how long an access token is good. Source:
// developers.google.com/identity/protocols/oauth2/service-account: one hour.
const tokenLife = time.Hour

// serveToken gives an access token for a JWT that an account signed. Source: the same page, "Making
// the access token request".
func (s *Service) serveToken(tokenURL string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 2*maxToken)
		if err := r.ParseForm(); err != nil {
			refuse(w, "invalid_request", "the form cannot be read")
			return
		}
		if r.PostForm.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
			refuse(w, "unsupported_grant_type", "Invalid grant_type: "+r.PostForm.Get("grant_type"))
			return
		}
		s.mu.Lock()
		c, a, err := s.signed(r.PostForm.Get("assertion"))
		s.mu.Unlock()
		switch {
		case err != nil:
			refuse(w, "invalid_grant", "Invalid JWT Signature.")
			return
		case c.Audience != tokenURL:
			refuse(w, "invalid_grant", "Invalid JWT: Failed audience check.")
			return
		case !c.scoped():
			refuse(w, "invalid_scope", "Invalid OAuth scope or ID token audience provided.")
			return
		}
		raw := make([]byte, 32)
		if _, err := io.ReadFull(s.o.Rand, raw); err != nil {
			http.Error(w, "no randomness", http.StatusInternalServerError)
			return
		}
		token := "emulator." + hex.EncodeToString(raw)
		s.AddToken(token, a.name, s.o.Now().Add(tokenLife))
		answer(w, http.StatusOK, map[string]any{"access_token": token, "token_type": "Bearer",
			"expires_in": int(tokenLife/time.Second) - 1})
	}
}

// refuse: source: datatracker.ietf.org/doc/html/rfc6749#section-5.2.
func refuse(w http.ResponseWriter, code, text string) {
	answer(w, http.StatusBadRequest, map[string]any{"error": code, "error_description": text})
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // a closed connection is not an error here
}
