package node

import (
	"encoding/json"
	"fmt"
	"time"
)

// clusterRecord is what the store knows of itself behind the barrier (entry core/cluster, JSON, version in "v"). The
// cluster's id stands in the sealed record, since the seals' blobs are bound to it.
type clusterRecord struct {
	Version int       `json:"v"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
}

func (c clusterRecord) marshal() []byte {
	c.Version = 1
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
	if c.Version != 1 {
		return c, fmt.Errorf("node: entry %s has format version %d; this program reads version 1", pathCluster, c.Version)
	}
	return c, nil
}
