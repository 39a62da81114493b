{{- define "sealgate.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end -}}
{{- end }}
{{- define "sealgate.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
component: server
{{- end }}
{{- define "sealgate.labels" -}}
{{ include "sealgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}
{{- define "sealgate.serviceAccount" -}}
{{ if .Values.server.serviceAccount.create }}{{ .Values.server.serviceAccount.name | default (include "sealgate.fullname" .) }}{{ else }}{{ .Values.server.serviceAccount.name | default "default" }}{{ end }}
{{- end }}
{{- define "sealgate.scheme" -}}{{ if .Values.global.tlsDisable }}http{{ else }}https{{ end }}{{- end }}
{{- define "sealgate.config" -}}
listener "tcp" {
  address         = "[::]:8200"
  cluster_address = "[::]:8201"
{{- if .Values.global.tlsDisable }}
  tls_disable     = true
{{- else }}
  tls_cert_file   = "/etc/sealgate-tls/tls.crt"
  tls_key_file    = "/etc/sealgate-tls/tls.key"
{{- end }}
}
{{ if .Values.server.ha.enabled }}{{ .Values.server.ha.config }}{{ else }}{{ .Values.server.standalone.config }}{{ end }}
{{ .Values.server.seals }}
{{- if .Values.server.serviceAccount.serviceDiscovery.enabled }}
service_registration "kubernetes" {}
{{- end }}
ui         = {{ .Values.server.ui.enabled }}
log_level  = {{ .Values.server.logLevel | quote }}
log_format = {{ .Values.server.logFormat | quote }}
{{- end }}
