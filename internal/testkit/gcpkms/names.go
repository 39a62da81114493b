package gcpkms

import (
	"regexp"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// kind is the level of a name in the hierarchy.
type kind int

const (
	location kind = iota
	keyRing
	cryptoKey
	keyVersion
	keyOrVersion // what Encrypt takes
)

// name is a parsed resource name:
//
//	projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY/cryptoKeyVersions/NUMBER
//
// Source: cloud.google.com/kms/docs/resource-hierarchy, and the comments of
// google/cloud/kms/v1/resources.proto.
type name struct {
	project, location, ring, key string
	version                      uint64
}

var (
	// Source: cloud.google.com/resource-manager/docs/creating-managing-projects: 6 to 30 lowercase
	// letters, digits and hyphens, a letter first, no hyphen last; old ones have a domain in front.
	// A project's number is an alternative.
	projectForm = regexp.MustCompile(`^(([a-z0-9.-]{1,63}:)?[a-z][a-z0-9-]{4,28}[a-z0-9]|[0-9]{1,19})$`)
	// Source: cloud.google.com/kms/docs/locations. The emulator knows their form, not their list.
	locationForm = regexp.MustCompile(`^[a-z][a-z0-9-]{1,62}$`)
	// Source: CreateKeyRingRequest.key_ring_id and CreateCryptoKeyRequest.crypto_key_id in
	// service.proto.
	idForm = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,63}$`)
)

// maxName bounds a name before it is parsed. It exceeds the longest valid name.
const maxName = 512

// parse reads a name of any kind.
func parse(s string) (name, bool) {
	parts := strings.Split(s, "/")
	if len(s) > maxName || len(parts) < 4 || len(parts) > 10 || len(parts)%2 != 0 {
		return name{}, false
	}
	for i, word := range []string{"projects", "locations", "keyRings", "cryptoKeys", "cryptoKeyVersions"} {
		if 2*i < len(parts) && parts[2*i] != word {
			return name{}, false
		}
	}
	at := func(i int) string {
		if 2*i+1 < len(parts) {
			return parts[2*i+1]
		}
		return ""
	}
	n := name{project: at(0), location: at(1), ring: at(2), key: at(3)}
	if !projectForm.MatchString(n.project) || !locationForm.MatchString(n.location) ||
		len(parts) > 4 && !idForm.MatchString(n.ring) || len(parts) > 6 && !idForm.MatchString(n.key) {
		return name{}, false
	}
	if len(parts) == 10 {
		v, err := strconv.ParseUint(at(4), 10, 63)
		if err != nil || v == 0 || strconv.FormatUint(v, 10) != at(4) {
			return name{}, false // versions count from 1 and have one spelling
		}
		n.version = v
	}
	return n, true
}

// expect reads a name of one kind.
func expect(s string, want kind) (name, error) {
	n, ok := parse(s)
	if ok && (n.kind() == want || want == keyOrVersion && (n.kind() == cryptoKey || n.kind() == keyVersion)) {
		return n, nil
	}
	return name{}, status.Errorf(codes.InvalidArgument, "%.600q is not a valid resource type for this request.", s)
}

func (n name) kind() kind {
	switch {
	case n.version != 0:
		return keyVersion
	case n.key != "":
		return cryptoKey
	case n.ring != "":
		return keyRing
	}
	return location
}

// String returns the resource name.
func (n name) String() string {
	out := "projects/" + n.project + "/locations/" + n.location
	if n.ring != "" {
		out += "/keyRings/" + n.ring
	}
	if n.key != "" {
		out += "/cryptoKeys/" + n.key
	}
	if n.version != 0 {
		out += "/cryptoKeyVersions/" + strconv.FormatUint(n.version, 10)
	}
	return out
}

// ofRing and ofKey are the names of what n lies in.
func (n name) ofRing() name { return name{project: n.project, location: n.location, ring: n.ring} }
func (n name) ofKey() name  { n.version = 0; return n }
