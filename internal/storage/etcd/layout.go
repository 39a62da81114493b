package etcd

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
)

// layout holds the keys below the path. The package comment draws them.
type layout struct {
	base                          string
	data                          string // with a trailing slash
	format, commit, leader, lease []byte
	leadership                    []byte
	slots                         string // with a trailing slash
	dataEnd, leadershipEnd, end   []byte // the least keys after data, after the leadership's keys, after everything
}

const formatText = "sealgate 1"

func newLayout(base string) layout {
	return layout{
		base: base, data: base + "data/", format: []byte(base + "format"), commit: []byte(base + "commit"),
		leadership: []byte(base + "office/"), leader: []byte(base + "office/leader"), lease: []byte(base + "office/lease"),
		dataEnd: []byte(base + "data0"), leadershipEnd: []byte(base + "office0"),
		slots: base + "slot/", end: []byte(base[:len(base)-1] + "0"),
	}
}

// of returns the key in etcd.
func (l layout) of(key string) []byte { return []byte(l.data + key) }

// name returns the store's key for a key in etcd; false if it is not below data.
func (l layout) name(key []byte) (string, bool) { return strings.CutPrefix(string(key), l.data) }

// Bounds of stored records.
const (
	maxIdentity = 64 << 10
	maxTTL      = time.Minute
	leaderHead  = 1 + 4
)

// encodeLeader returns version u8 = 1 | TTL in milliseconds u32 | identity.
func encodeLeader(ttl time.Duration, identity []byte) []byte {
	b := make([]byte, 0, leaderHead+len(identity))
	b = append(b, 1)
	b = binary.BigEndian.AppendUint32(b, uint32(ttl.Milliseconds()))
	return append(b, identity...)
}

func decodeLeader(b []byte) (ttl time.Duration, identity []byte, err error) {
	switch {
	case len(b) < leaderHead || len(b) > leaderHead+maxIdentity:
		return 0, nil, fmt.Errorf("%w: the leader's record has %d bytes", storage.ErrCorrupt, len(b))
	case b[0] != 1:
		return 0, nil, fmt.Errorf("%w: the leader's record has version %d; this program supports 1: use the same version "+
			"on all nodes",
			storage.ErrCorrupt, b[0])
	}
	ttl = time.Duration(binary.BigEndian.Uint32(b[1:])) * time.Millisecond
	if ttl <= 0 || ttl > maxTTL {
		return 0, nil, fmt.Errorf("%w: the leader's record has a TTL of %s", storage.ErrCorrupt, ttl)
	}
	return ttl, b[leaderHead:], nil
}
