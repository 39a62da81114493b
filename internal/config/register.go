package config

import "cmp"

// Kubernetes is the service_registration stanza: the server labels its pod with its state.
//
//	service_registration "kubernetes" {
//	  namespace    = "vault"     # or VAULT_K8S_NAMESPACE
//	  pod_name     = "vault-0"   # or VAULT_K8S_POD_NAME
//	  label_prefix = "vault"     # "openbao" for OpenBao's selectors
//	}
type Kubernetes struct {
	Pos         Pos
	Namespace   string
	PodName     string
	LabelPrefix string
}

func (d *decoder) registration(b block) {
	if b.labels[0] != "kubernetes" {
		d.fail(b.pos, `service_registration %s is not supported: only "kubernetes" is`, short(b.labels[0]))
		return
	}
	k := &Kubernetes{Pos: b.pos, LabelPrefix: "vault"}
	s := d.section("service_registration kubernetes", b.body)
	s.str("namespace", &k.Namespace)
	s.str("pod_name", &k.PodName)
	s.str("label_prefix", &k.LabelPrefix)
	s.finish()
	d.cfg.Kubernetes = k
}

// registrationEnvironment applies the variables, which come from the pod.
func (d *decoder) registrationEnvironment(getenv func(string) string) {
	k := d.cfg.Kubernetes
	if k == nil {
		return
	}
	k.Namespace, k.PodName = cmp.Or(Env(getenv, "K8S_NAMESPACE"), k.Namespace),
		cmp.Or(Env(getenv, "K8S_POD_NAME"), k.PodName)
	if k.Namespace == "" || k.PodName == "" {
		d.fail(k.Pos, "service_registration kubernetes: namespace and pod_name must be set, or VAULT_K8S_NAMESPACE and "+
			"VAULT_K8S_POD_NAME "+
			"(from the Downward API: metadata.namespace and metadata.name)")
	}
}
