package storage

import (
	"fmt"
	"strings"
)

// Names implements [Store.List] over an ordered set of keys, for backends that can find the first
// key at or after a given one. A folder costs one such step however many keys it holds.
//
// Cutting keys to names keeps their order, because a slash only occurs at the end of a name.
func Names(prefix, after string, limit int, seek func(from string) (key string, ok bool, err error)) ([]string, error) {
	names := []string{}
	from := firstBehind(prefix, after)
	for limit <= 0 || len(names) < limit {
		key, ok, err := seek(from)
		if err != nil {
			return nil, err
		}
		if ok && key < from { // prevents an endless loop
			return nil, fmt.Errorf("%w: the entry %q follows %q", ErrCorrupt, key, from)
		}
		if !ok || !strings.HasPrefix(key, prefix) {
			break
		}
		name := key[len(prefix):]
		if slash := strings.IndexByte(name, '/'); slash >= 0 {
			name = name[:slash+1]
			from = pastFolder(prefix + name)
		} else {
			from = key + "\x00"
		}
		names = append(names, name)
	}
	return names, nil
}

// firstBehind returns the least string after all keys with a name up to and including after.
func firstBehind(prefix, after string) string {
	if after == "" {
		return prefix
	}
	if slash := strings.IndexByte(after, '/'); slash >= 0 {
		return pastFolder(prefix + after[:slash+1])
	}
	return prefix + after + "\x00"
}

// pastFolder returns the least string after every key that starts with folder, which ends in a
// slash.
func pastFolder(folder string) string { return folder[:len(folder)-1] + string(rune('/'+1)) }
