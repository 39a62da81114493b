package node

import (
	"encoding/json"
	"fmt"
	"time"
)

// clusterRecord is what the store says of itself behind the barrier: the entry core/cluster, JSON,
// with the version in "v". The cluster's id is in the sealed record, since the seals' blobs are
// bound to it.
type clusterRecord struct {
	Version int       `json:"v"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
}

const clusterVersion = 1

func (c clusterRecord) marshal() []byte {
	c.Version = clusterVersion
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // a string and a time always encode
	}
	return b
}

func unmarshalCluster(b []byte) (clusterRecord, error) {
	var c clusterRecord
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("node: entry %s: %w", pathCluster, err)
	}
	if c.Version != clusterVersion {
		return c, fmt.Errorf("node: entry %s has format version %d; this program reads version %d",
			pathCluster, c.Version, clusterVersion)
	}
	return c, nil
}
