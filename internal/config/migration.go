package config

import "fmt"

// Migration has the two storages of a migration.
type Migration struct {
	Source, Destination *Storage
}

// LoadMigration reads the file of `operator migrate`: a storage_source and a storage_destination
// stanza, each with the parameters of a storage stanza. The environment variables of a storage type
// apply if only one of the two has that type. The error joins all errors.
func LoadMigration(path string, getenv func(string) string) (*Migration, error) {
	data, err := readBounded(path)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	b, err := parse(path, data)
	if err != nil {
		return nil, err
	}
	d := newDecoder()
	s := d.section("", b)
	var clusterAddr string
	s.str("cluster_addr", &clusterAddr) // Vault needs it for a raft destination
	var m Migration
	for _, half := range []struct {
		key  string
		into **Storage
	}{{"storage_source", &m.Source}, {"storage_destination", &m.Destination}} {
		d.cfg.Storage = nil
		for _, stanza := range s.blocks(half.key, 1, 1) {
			d.storage(half.key, stanza)
		}
		if *half.into = d.cfg.Storage; d.cfg.Storage == nil && len(d.errs) == 0 {
			d.fail(Pos{path, 1}, "no %s stanza: a migration needs one storage_source and one storage_destination", half.key)
		}
	}
	s.finish(nil)
	if len(d.errs) == 0 && m.Source.Type != m.Destination.Type { // otherwise a variable would be ambiguous
		for _, d.cfg.Storage = range []*Storage{m.Source, m.Destination} {
			d.environment(getenv)
		}
	}
	if err := d.result(); err != nil {
		return nil, err
	}
	return &m, nil
}
