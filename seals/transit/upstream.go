package transit

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/openbao/openbao/api/v2"
)

// Clusters implements [seals.Upstream]: the server's cluster id, and, where the server is a
// Sealgate, the clusters that it unseals through. A sealed server names none.
func (w *Wrapper) Clusters(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, w.settings.timeout)
	defer cancel()
	req := w.client.NewRequest(http.MethodGet, "/v1/sys/seal-status")
	req.ClientToken = "" // anyone may ask
	req.Headers.Del(api.NamespaceHeaderName)
	resp, err := w.client.RawRequestWithContext(ctx, req)
	if err != nil {
		return nil, w.failure(err)
	}
	defer resp.Body.Close()
	var status struct {
		Cluster string   `json:"cluster_id"`
		Through []string `json:"unseals_through"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&status); err != nil {
		return nil, w.failure(errAnswer)
	}
	return append([]string{status.Cluster}, status.Through...), nil
}
