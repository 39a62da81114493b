package config

import "regexp"

// apiLevel has no build part: clients take "+ent" as a promise of Vault Enterprise.
var apiLevel = regexp.MustCompile(`^(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})$`)

// apiVersion reads the version of Vault that clients see.
func (d *decoder) apiVersion(s *section) {
	s.str("api_version", &d.cfg.APIVersion)
	if !apiLevel.MatchString(d.cfg.APIVersion) {
		d.fail(s.seen["api_version"], "api_version is the version of Vault that clients see: give three numbers, such as "+
			"1.15.0")
	}
}
