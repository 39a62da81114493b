package awskms

import (
	"fmt"
	"strings"
)

// keyARN is the ARN of a key or alias: arn:PARTITION:kms:REGION:ACCOUNT:key/ID, or ...:alias/NAME.
type keyARN struct {
	partition, region, account string
	resource                   string // "key/ID" or "alias/NAME"
}

// parseARN parses an ARN; ok is false where it is not the ARN of a KMS key or alias.
func parseARN(s string) (a keyARN, ok bool) {
	p := strings.Split(s, ":")
	if len(p) != 6 || p[0] != "arn" || p[2] != "kms" || p[1] == "" || p[3] == "" || p[4] == "" || len(s) > 2048 {
		return keyARN{}, false
	}
	a = keyARN{p[1], p[3], p[4], p[5]}
	kind, name, _ := strings.Cut(a.resource, "/")
	return a, (kind == "key" || kind == "alias") && name != ""
}

func (a keyARN) String() string {
	return fmt.Sprintf("arn:%s:kms:%s:%s:%s", a.partition, a.region, a.account, a.resource)
}

func (a keyARN) alias() bool { return strings.HasPrefix(a.resource, "alias/") }

// multiRegion reports a multi-Region key: its replicas in other regions have the same id and
// material.
func (a keyARN) multiRegion() bool { return strings.HasPrefix(a.resource, "key/mrk-") }

// in returns the ARN of the replica in a region.
func (a keyARN) in(region string) keyARN {
	a.region = region
	return a
}

// sameKey reports whether two ARNs name the same key, or replicas of it.
func (a keyARN) sameKey(b keyARN) bool {
	return a == b || a.multiRegion() && a.in(b.region) == b
}

// isAlias reports whether kms_key_id names an alias, by name or by ARN.
func isAlias(id string) bool {
	a, ok := parseARN(id)
	return strings.HasPrefix(id, "alias/") || ok && a.alias()
}
