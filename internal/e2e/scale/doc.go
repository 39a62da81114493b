// Package scale measures the real program on large stores, beside the targets of each measure:
// `make scale` (build tag "scale") builds a store of SCALE kv entries for each storage in
// SCALE_STORAGE, by default 1,000,000 on bbolt and PostgreSQL and 100,000 on etcd, and prints a
// table. It fails where something is wrong, not where a target is missed: the table says "missed".
package scale
