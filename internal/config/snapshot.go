package config

import (
	"net"
	"net/url"
	"regexp"
	"time"
)

// Snapshot is a snapshot stanza: the active node takes one each time, and verifies it.
type Snapshot struct {
	Pos     Pos
	Name    string // unique
	Every   time.Duration
	Keep    int64         // newest ones that stay; 7
	Timeout time.Duration // of one, with its verification; 1h
	Path    string        // an existing folder; "": S3
	S3      *S3
}

// S3 is a bucket of Amazon S3, or of a service with its API.
type S3 struct {
	Bucket, Prefix string
	Region         string // "": of the environment
	Endpoint       string // "": of AWS
	PathStyle      bool
	CAFile         string // of the endpoint's certificates; "": the system's
	Credentials    Params // access_key, secret_key, session_token; none: of the environment
}

var (
	snapshotName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,39}$`)
	bucketName   = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	bucketPrefix = regexp.MustCompile(`^[A-Za-z0-9._/-]{0,500}$`)
)

// snapshot reads a schedule:
//
//	snapshot "daily" {
//	  every = "24h"
//	  keep  = 7                       # default
//	  path  = "/var/backups/sealgate" # or s3
//	  s3 {
//	    bucket     = "backups"
//	    prefix     = "sealgate/"
//	    region     = "eu-central-1"
//	    access_key = "env://S3_ACCESS_KEY"
//	    secret_key = "file:///etc/sealgate/s3-secret"
//	  }
//	}
func (d *decoder) snapshot(b block) {
	c := Snapshot{Pos: b.pos, Name: b.labels[0], Keep: 7, Timeout: time.Hour}
	if !snapshotName.MatchString(c.Name) {
		d.fail(b.pos, "snapshot %s: the name has 1 to 40 lower-case letters, digits, hyphens and underscores", short(c.Name))
	}
	for _, other := range d.cfg.Snapshots {
		if other.Name == c.Name {
			d.fail(b.pos, "duplicate snapshot %s: the first is at %s", short(c.Name), other.Pos)
		}
	}
	where := "snapshot " + clip(c.Name)
	s := d.section(where, b.body)
	s.duration("every", &c.Every)
	s.integer("keep", 1, 10_000, &c.Keep)
	s.duration("timeout", &c.Timeout)
	s.str("path", &c.Path)
	for _, b := range s.blocks("s3", 0, 0) {
		if c.S3 != nil {
			d.fail(b.pos, "%s: there are two s3 blocks; write another snapshot stanza for the second", where)
		}
		c.S3 = d.s3(where+" s3", b)
	}
	s.finish()
	if c.Every < time.Second || c.Timeout < time.Second {
		d.fail(b.pos, "%s: every is missing, or every or timeout is below one second", where)
	}
	if (c.Path == "") == (c.S3 == nil) {
		d.fail(b.pos, "%s needs a path or an s3 block, and not both", where)
	}
	d.cfg.Snapshots = append(d.cfg.Snapshots, c)
}

func (d *decoder) s3(where string, b block) *S3 {
	c := &S3{Credentials: Params{}}
	s := d.section(where, b.body)
	s.str("bucket", &c.Bucket)
	s.str("prefix", &c.Prefix)
	s.str("region", &c.Region)
	s.str("endpoint", &c.Endpoint)
	s.flag("path_style", &c.PathStyle)
	s.file("ca_file", &c.CAFile)
	plain := false
	s.flag("tls_disable", &plain)
	for _, key := range []string{"access_key", "secret_key", "session_token"} {
		var v string
		s.str(key, &v)
		if v != "" {
			c.Credentials[key] = v
		}
	}
	s.finish()
	if !bucketName.MatchString(c.Bucket) || !bucketPrefix.MatchString(c.Prefix) {
		d.fail(b.pos, "%s: bucket is missing, or bucket or prefix is not a name that S3 allows", where)
	}
	if (c.Credentials["access_key"] == "") != (c.Credentials["secret_key"] == "") ||
		c.Credentials["session_token"] != "" && c.Credentials["access_key"] == "" {
		d.fail(b.pos, "%s: set access_key and secret_key, or neither, which takes those of the environment", where)
	}
	if c.Endpoint == "" {
		return c
	}
	u, err := url.Parse(c.Endpoint)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
		u.Scheme != "https" && u.Scheme != "http":
		c.Endpoint = "" // it may hold a password
		d.fail(b.pos, "%s: endpoint is not a URL without credentials, such as https://minio.example.com:9000", where)
	case u.Scheme == "http" && !loopback(net.JoinHostPort(u.Hostname(), "0")) && !plain:
		d.fail(b.pos, "%s: endpoint has no TLS: use https, or set tls_disable = true", where)
	case u.Scheme == "http" && plain:
		d.note(b.pos, where, true, "snapshots travel without TLS: an attacker on the network can read the names of "+
			"objects, and change, delay or drop what is stored")
	}
	return c
}

func (s Snapshot) title() string { return "snapshot " + s.Name }
