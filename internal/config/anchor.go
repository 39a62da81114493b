package config

// anchor reads the stanza that keeps, on the node's own disk, what the node last saw of its
// storage:
//
//	anchor "file" {
//	  path = "/var/lib/sealgate/anchor.json"
//	}
func (d *decoder) anchor(b block) {
	if b.labels[0] != "file" {
		d.fail(b.pos, `anchor %s is not supported: only "file" is`, short(b.labels[0]))
		return
	}
	if d.cfg.Anchor != "" {
		d.fail(b.pos, "there are two anchors; keep one")
		return
	}
	s := d.section("anchor file", b.body)
	s.str("path", &d.cfg.Anchor)
	s.finish()
	if d.cfg.Anchor == "" {
		d.fail(b.pos, "anchor file: path is missing; name a file on the node's own disk, outside the storage")
	}
}
