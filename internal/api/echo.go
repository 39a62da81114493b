package api

import (
	"encoding/json"
	"net/http"

	"github.com/sealgate/sealgate/internal/node"
)

// maxEcho bounds what a node says of itself.
const maxEcho = 16 << 10

// echo takes note of a standby.
func echo(n *node.Node, w http.ResponseWriter, r *http.Request) {
	var m node.Member
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxEcho)).Decode(&m); err != nil {
		http.Error(w, "not a node's announcement", http.StatusBadRequest)
		return
	}
	if err := n.Echo(m); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
