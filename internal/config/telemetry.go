package config

import (
	"regexp"
	"time"
)

// Telemetry is the telemetry stanza.
type Telemetry struct {
	Prefix     string // of metrics that Vault has as well; "vault"
	Prometheus bool   // sys/metrics in Prometheus's format; true unless prometheus_retention_time is 0
}

func defaultTelemetry() Telemetry { return Telemetry{Prefix: "vault", Prometheus: true} }

var metricName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// telemetry reads the stanza. It refuses settings that push metrics: without an error, their
// absence could go unnoticed.
func (d *decoder) telemetry(b block) {
	t := &d.cfg.Telemetry
	s := d.section("telemetry", b.body)
	s.str("metrics_prefix", &t.Prefix)
	if !metricName.MatchString(t.Prefix) {
		d.fail(s.posOf("metrics_prefix"), "%s must be letters, digits and underscores", s.label("metrics_prefix"))
	}
	retention := 24 * time.Hour
	s.duration("prometheus_retention_time", &retention)
	t.Prometheus = retention > 0
	s.finish(foreignTelemetry)
}

const (
	noPush = "metrics are not pushed: let Prometheus, an agent or a collector fetch them from sys/metrics, and " +
		"remove the key"
	noHostname  = "has no effect: names have no host name"
	noUsage     = "has no effect: there are no expensive gauges"
	noFiltering = "has no effect: every metric is shown"
)

// foreignTelemetry are keys of other servers' telemetry stanza.
var foreignTelemetry = map[string]foreign{
	"statsite_address": {refuse: true, text: noPush}, "statsd_address": {refuse: true, text: noPush},
	"dogstatsd_addr": {refuse: true, text: noPush}, "dogstatsd_tags": {text: noPush},
	"circonus_api_token": {refuse: true, text: noPush}, "circonus_api_app": {text: noPush},
	"circonus_api_url":             {text: noPush},
	"circonus_submission_interval": {text: noPush}, "circonus_submission_url": {refuse: true, text: noPush},
	"circonus_check_id": {text: noPush}, "circonus_check_force_metric_activation": {text: noPush},
	"circonus_check_instance_id": {text: noPush}, "circonus_check_search_tag": {text: noPush},
	"circonus_check_display_name": {text: noPush}, "circonus_check_tags": {text: noPush},
	"circonus_broker_id": {text: noPush}, "circonus_broker_select_tag": {text: noPush},
	"stackdriver_project_id": {refuse: true, text: noPush}, "stackdriver_location": {text: noPush},
	"stackdriver_namespace": {text: noPush}, "stackdriver_debug_logs": {text: noPush},

	"disable_hostname": {text: noHostname}, "enable_hostname_label": {text: noHostname},
	"usage_gauge_period": {text: noUsage}, "maximum_gauge_cardinality": {text: noUsage},
	"lease_metrics_epsilon": {text: noUsage}, "num_lease_metrics_buckets": {text: noUsage},
	"add_lease_metrics_namespace_labels": {text: noUsage},
	"add_mount_point_rollback_metrics":   {text: noUsage}, "rollback_metrics_include_mount_point": {text: noUsage},
	"filter_default": {text: noFiltering}, "prefix_filter": {text: noFiltering},
}
