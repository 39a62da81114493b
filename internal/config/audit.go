package config

import (
	"errors"
	"path/filepath"

	"github.com/sealgate/sealgate/internal/audit"
	"github.com/sealgate/sealgate/internal/fault"
)

// Audit is an audit stanza: a device that exists from the start, sealed or not, and that no request
// can remove.
//
//	audit "file" "to-file" {
//	  description = "kept for a year"
//	  options {
//	    file_path = "/var/log/sealgate/audit.log"
//	  }
//	}
type Audit struct {
	Pos    Pos
	Device audit.Config
}

// auditCreation reads what requests may do about audit devices.
func (d *decoder) auditCreation(s *section) {
	var anywhere bool
	if _, ok := s.seen["unsafe_allow_api_audit_creation"]; ok {
		s.flag("unsafe_allow_api_audit_creation", &anywhere)
		d.cfg.AuditByAPI = &anywhere
	}
	if folders := s.words("audit_folders"); folders != nil {
		d.cfg.AuditFolders = folders
	}
}

// LogFolder is where the package's audit logs are.
const LogFolder = "/var/log/sealgate"

// auditFolders returns the folders in which requests may create audit logs.
func (c *Config) auditFolders() []string {
	if c.AuditFolders != nil {
		return c.AuditFolders
	}
	folders := []string{LogFolder}
	if c.Storage != nil && c.Storage.Path != "" {
		folders = append(folders, filepath.Join(c.Storage.Path, "audit"))
	}
	return folders
}

// AuditOptions returns the audit trail's options.
func (c *Config) AuditOptions() audit.Options {
	o := audit.Options{AllowPrefix: c.AuditPrefix, Folders: c.auditFolders()}
	if c.AuditByAPI != nil {
		o.AnyFile, o.ForbidAPI = *c.AuditByAPI, !*c.AuditByAPI
	}
	for _, a := range c.Audit {
		o.Declared = append(o.Declared, a.Device)
	}
	return o
}

// audits reads the stanzas after allow_audit_log_prefixing.
func (d *decoder) audits(blocks []block) {
	for _, b := range blocks {
		d.audit(b)
	}
}

func (d *decoder) audit(b block) {
	a := Audit{b.pos, audit.Config{Type: b.labels[0], Options: map[string]string{}, Declared: true}}
	s := d.section("audit "+a.Device.Type, b.body)
	path := b.labels[1]
	s.str("path", &path) // OpenBao has it as a key, too
	s.str("description", &a.Device.Description)
	s.flag("local", &a.Device.Local)
	for _, o := range s.blocks("options", 0, 0) {
		for _, f := range o.body.fields {
			if f.val.kind == isList || f.val.kind == isObject || len(f.labels) > 0 {
				d.fail(f.pos, "audit %s: the option %s takes one value", a.Device.Type, short(f.name))
				continue
			}
			a.Device.Options[f.name] = f.val.text
		}
	}
	s.finish()
	var err error
	if a.Device.Path, err = audit.CleanPath(path); err != nil {
		d.failWith(b.pos, err)
		return
	}
	for _, other := range d.cfg.Audit {
		if other.Device.Path == a.Device.Path {
			d.fail(b.pos, "duplicate audit device %q: the first is at %s", a.Device.Path, other.Pos)
			return
		}
	}
	d.cfg.Audit = append(d.cfg.Audit, a)
}

func (d *decoder) failWith(p Pos, err error) {
	var client *fault.Error
	if errors.As(err, &client) {
		d.fail(p, "audit: %s", client.Message)
		return
	}
	d.fail(p, "audit: %v", err)
}

// checkAudit runs after all files, because a later one may allow prefixes.
func (d *decoder) checkAudit() {
	for _, a := range d.cfg.Audit {
		if err := audit.Check(a.Device, d.cfg.AuditPrefix); err != nil {
			d.failWith(a.Pos, err)
		}
		if a.Device.Options["log_raw"] == "true" {
			d.note(a.Pos, "audit "+a.Device.Type+".log_raw", true, "the log contains values unhashed: a reader of it can "+
				"read secrets")
		}
	}
}
