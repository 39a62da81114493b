package config

// Anchor is where a node keeps what it last saw of its storage.
type Anchor struct {
	File  string // on the node's own disk; "": not in a file
	Seal  string // name of a pkcs11 seal, on whose token an object is; "*": the only one; "": none
	Label string // of the object
	Pos   Pos
}

// anchor reads the stanza that keeps what the node last saw of its storage, on the node's own disk
// or in a private object on the token of a pkcs11 seal:
//
//	anchor "file" {
//	  path = "/var/lib/sealgate/anchor.json"
//	}
//
//	anchor "pkcs11" {
//	  seal  = "hsm"             # default: the only pkcs11 seal
//	  label = "sealgate-anchor" # default
//	}
func (d *decoder) anchor(b block) {
	a := &d.cfg.Anchor
	if *a != (Anchor{}) {
		d.fail(b.pos, "there are two anchors; keep one")
		return
	}
	switch b.labels[0] {
	case "file":
		s := d.section("anchor file", b.body)
		s.str("path", &a.File)
		s.finish()
		if a.File == "" {
			d.fail(b.pos, "anchor file: path is missing; name a file on the node's own disk, outside the storage")
		}
	case "pkcs11":
		*a = Anchor{Seal: "*", Label: "sealgate-anchor", Pos: b.pos}
		s := d.section("anchor pkcs11", b.body)
		s.str("seal", &a.Seal)
		s.str("label", &a.Label)
		s.finish()
		if a.Seal == "" || a.Label == "" || len(a.Label) > 64 {
			d.fail(b.pos, "anchor pkcs11: seal names a pkcs11 seal, and label has 1 to 64 bytes")
		}
	default:
		d.fail(b.pos, `anchor %s is not supported: "file" and "pkcs11" are`, short(b.labels[0]))
	}
}

// checkAnchor finds the seal whose token keeps the anchor.
func (d *decoder) checkAnchor() {
	a := &d.cfg.Anchor
	if a.Seal == "" {
		return
	}
	var names []string
	for _, s := range d.cfg.Seals {
		if s.Type == "pkcs11" && !s.Disabled && (a.Seal == "*" || a.Seal == s.Name) {
			names = append(names, s.Name)
		}
	}
	if len(names) == 1 {
		a.Seal = names[0]
		return
	}
	d.fail(a.Pos, "anchor pkcs11 needs one pkcs11 seal whose token keeps it, and %d fit: name one by seal", len(names))
}
