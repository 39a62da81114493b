package server

import (
	"fmt"
	"log/slog"

	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/kubernetes"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/version"
)

// newLabels prepares the registration of the pod, if the configuration asks for it. A server in
// recovery mode is not registered, so that no Service selects it.
func newLabels(c *config.Kubernetes, n *node.Node, getenv func(string) string,
	log *slog.Logger) (*kubernetes.Registration, error) {
	if c == nil || n == nil {
		return nil, nil
	}
	r, err := kubernetes.New(kubernetes.Options{
		Namespace: c.Namespace, Pod: c.PodName, Prefix: c.LabelPrefix, Version: version.Release, Getenv: getenv, Log: log,
		State: func() kubernetes.State {
			h := n.Health()
			return kubernetes.State{Active: !h.Sealed && !h.Standby, Sealed: h.Sealed, Initialized: h.Initialized}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("%s: service_registration: %w", c.Pos, err)
	}
	return r, nil
}
