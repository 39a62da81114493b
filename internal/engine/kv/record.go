package kv

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// value is one secret, stored at "v1/<path>" of the mount:
//
//	version u8 = 1 | lease i64 | JSON object
//
// The lease is the number of seconds that the object sets, big-endian, or -1 if it sets none. The
// JSON is stored as it is returned.
type value struct {
	lease int64
	data  json.RawMessage
}

const (
	recordVersion = 1
	headerSize    = 1 + 8
	noLease       = -1
)

func marshal(data map[string]any) ([]byte, error) {
	body, err := encode(data)
	if err != nil {
		return nil, err
	}
	return value{lease: leaseOf(data), data: body}.marshal(), nil
}

func (v value) marshal() []byte {
	b := make([]byte, 0, headerSize+len(v.data))
	b = append(b, recordVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(v.lease))
	return append(b, v.data...)
}

// unmarshal does not parse the JSON, which the barrier has authenticated.
func unmarshal(b []byte) (value, error) {
	if len(b) < headerSize+len("{}") || b[0] != recordVersion {
		return value{}, fmt.Errorf("%w: it must be version %d and hold an object", errRecord, recordVersion)
	}
	v := value{lease: int64(binary.BigEndian.Uint64(b[1:headerSize])), data: b[headerSize:]}
	if v.lease < noLease || v.data[0] != '{' || v.data[len(v.data)-1] != '}' {
		return value{}, fmt.Errorf("%w: the lease is %d, or there is no object", errRecord, v.lease)
	}
	return v, nil
}
