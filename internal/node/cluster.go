package node

import (
	"encoding/json"
	"fmt"
	"time"
)

// clusterRecord is what the store says of itself behind the barrier: the entry core/cluster, JSON,
// with the version in "v". The cluster's id is in the sealed record, since the seals' blobs are
// bound to it.
//
// Version 1 has no attestation. It is read, and replaced when a node that may write opens the
// store.
type clusterRecord struct {
	Version  int          `json:"v"`
	Name     string       `json:"name"`
	Created  time.Time    `json:"created"`
	Attested *attestation `json:"attested,omitempty"` // nil in version 1
}

const (
	clusterVersion           = 2
	clusterVersionUnattested = 1
)

func (c clusterRecord) marshal() []byte {
	c.Version = clusterVersion
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // strings and a time always encode
	}
	return b
}

func unmarshalCluster(b []byte) (clusterRecord, error) {
	var c clusterRecord
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("node: entry %s: %w", pathCluster, err)
	}
	switch {
	case c.Version == clusterVersion && c.Attested != nil, c.Version == clusterVersionUnattested && c.Attested == nil:
		return c, nil
	case c.Version == clusterVersion, c.Version == clusterVersionUnattested:
		return c, fmt.Errorf("node: entry %s is malformed", pathCluster)
	}
	return c, fmt.Errorf("node: entry %s has format version %d; this program reads versions %d and %d",
		pathCluster, c.Version, clusterVersionUnattested, clusterVersion)
}
