package kubeapi

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strings"
)

// review is a TokenReview. [review]
type review struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Metadata   map[string]any `json:"metadata"`
	Spec       *reviewSpec    `json:"spec"`
	Status     map[string]any `json:"status"`
}

type reviewSpec struct {
	Token     string   `json:"token"`
	Audiences []string `json:"audiences,omitempty"`
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	quiet, strange := s.unresponsive, s.strange
	s.mu.Unlock()
	w.Header().Set("X-Emulator", "sealgate kubeapi, not Kubernetes")
	w.Header().Set("Content-Type", "application/json")
	if quiet != nil {
		select {
		case <-quiet:
		case <-r.Context().Done():
			return
		}
	}
	if strange != "" {
		_, _ = io.WriteString(w, strange)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		fail(w, http.StatusForbidden, "Forbidden", "system:anonymous cannot access the path")
		return
	}
	caller, _, err := s.authenticate(bearer, []string{Audience})
	if err != nil {
		fail(w, http.StatusUnauthorized, "Unauthorized", "Unauthorized")
		return
	}
	namespace, named := strings.CutPrefix(r.URL.Path, "/api/v1/namespaces/")
	switch {
	case r.URL.Path == "/apis/authentication.k8s.io/v1/tokenreviews":
		s.review(w, r, caller)
	case named && namespace != "" && !strings.Contains(namespace, "/"):
		s.namespace(w, r, caller, namespace)
	default:
		fail(w, http.StatusNotFound, "NotFound", "the server could not find the requested resource")
	}
}

func (s *Server) review(w http.ResponseWriter, r *http.Request, caller *Account) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case r.Method != http.MethodPost:
		fail(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "the server does not allow this method on the resource")
		return
	case !caller.Reviews:
		fail(w, http.StatusForbidden, "Forbidden", `tokenreviews.authentication.k8s.io is forbidden: User `+
			`"system:serviceaccount:`+caller.Namespace+":"+caller.Name+`" cannot create resource "tokenreviews"`)
		return
	case r.Header.Get("Content-Type") != "" && kind != "application/json": // [api]
		fail(w, http.StatusUnsupportedMediaType, "UnsupportedMediaType", "the body of the request was in an unknown format")
		return
	}
	raw, err := io.ReadAll(io.LimitReader(r.Body, 3<<20))
	if err != nil {
		return
	}
	var in review
	d := json.NewDecoder(bytes.NewReader(raw))
	if err := d.Decode(&in); err != nil || d.More() {
		fail(w, http.StatusBadRequest, "BadRequest", "the object provided is unrecognized")
		return
	}
	if in.APIVersion != "" && in.APIVersion != "authentication.k8s.io/v1" || in.Kind != "" && in.Kind != "TokenReview" {
		fail(w, http.StatusBadRequest, "BadRequest", "the API version in the data does not match the expected API version")
		return
	}
	if in.Spec == nil || in.Spec.Token == "" {
		fail(w, http.StatusBadRequest, "BadRequest", "token is required for TokenReview in authentication")
		return
	}
	s.reviews++
	audiences := in.Spec.Audiences
	if len(audiences) == 0 {
		audiences = []string{Audience}
	}
	in.APIVersion, in.Kind = "authentication.k8s.io/v1", "TokenReview"
	if a, both, err := s.authenticate(in.Spec.Token, audiences); err != nil {
		in.Status = map[string]any{"user": map[string]any{}, "error": "[" + err.Error() + "]"}
	} else {
		in.Status = map[string]any{"authenticated": true, "audiences": both, "user": map[string]any{
			"username": "system:serviceaccount:" + a.Namespace + ":" + a.Name, "uid": a.UID,
			"groups": []string{"system:serviceaccounts", "system:serviceaccounts:" + a.Namespace, "system:authenticated"},
		}}
	}
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(in)
}

func (s *Server) namespace(w http.ResponseWriter, r *http.Request, caller *Account, name string) {
	labels, ok := s.labels[name]
	switch {
	case r.Method != http.MethodGet:
		fail(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "the server does not allow this method on the resource")
	case !caller.Namespaces:
		fail(w, http.StatusForbidden, "Forbidden", `namespaces "`+name+`" is forbidden`)
	case !ok:
		fail(w, http.StatusNotFound, "NotFound", `namespaces "`+name+`" not found`)
	default:
		_ = json.NewEncoder(w).Encode(map[string]any{
			"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name, "labels": labels},
		})
	}
}

// fail answers with a Status. [status]
func fail(w http.ResponseWriter, code int, reason, message string) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"kind": "Status", "apiVersion": "v1", "metadata": map[string]any{}, "status": "Failure", "message": message,
		"reason": reason, "code": code,
	})
}
