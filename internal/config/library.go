package config

import "strings"

// Library is a kms_library stanza: a PKCS#11 library that requests to sys/managed-keys and
// sys/external-keys can name. They never give a path.
//
//	kms_library "pkcs11" {
//	  name      = "hsm1"
//	  library   = "/usr/lib/softhsm/libsofthsm2.so"
//	  isolation = "process"         # as in the seal "pkcs11", like network and allow_paths
//
//	  # A PIN of the server is for the token that the stanza names, and for no other.
//	  token_label = "prod"
//	  pin         = "env://HSM_PIN"
//	}
//
// What the stanza sets, no request can set.
type Library struct {
	Pos    Pos
	Type   string // "pkcs11"
	Name   string // unique
	Path   string
	Params Params // by the names of the seal of that type
}

// libraryParams are the parameters of the seal that a library may have, too.
var libraryParams = []string{
	"pin", "token_label", "token_serial", "slot", "isolation", "network", "allow_paths", "timeout", "max_parallel",
	"pin_final_try",
}

func (d *decoder) library(b block) {
	if b.labels[0] != "pkcs11" {
		d.fail(b.pos, `kms_library %s is not supported: only "pkcs11" is`, short(b.labels[0]))
		return
	}
	l := Library{Pos: b.pos, Type: b.labels[0], Params: Params{}}
	s := d.section("kms_library pkcs11", b.body)
	s.str("name", &l.Name)
	s.str("library", &l.Path)
	for _, p := range libraryParams {
		if f, ok := s.take(p); ok {
			if f.val.kind == isList {
				d.fail(f.pos, "%s takes one value, not a list", s.label(p))
				continue
			}
			l.Params[p] = f.val.text
		}
	}
	s.finish()
	switch {
	case !validName(l.Name):
		d.fail(b.pos, "kms_library: name is required: 1 to 64 letters, digits, dots, hyphens and underscores")
	case l.Path == "" || strings.Contains(l.Path, "://"):
		d.fail(b.pos, "kms_library: library is required: the path of the PKCS#11 library")
	}
	if l.Params["pin"] != "" && l.Params["token_label"]+l.Params["token_serial"]+l.Params["slot"] == "" {
		d.fail(b.pos, "kms_library: a pin needs token_label, token_serial or slot: a request could send it to any token")
	}
	for _, other := range d.cfg.Libraries {
		if other.Name == l.Name {
			d.fail(b.pos, "kms_library: the stanza at %s has the same name", other.Pos)
		}
	}
	d.cfg.Libraries = append(d.cfg.Libraries, l)
}
