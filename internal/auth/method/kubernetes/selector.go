package kubernetes

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
)

// selector is a label selector of Kubernetes
// (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/label-selector/) in JSON.
type selector struct {
	Labels      map[string]string `json:"matchLabels"`
	Expressions []expression      `json:"matchExpressions"`
}

type expression struct {
	Key      string   `json:"key"`
	Operator string   `json:"operator"`
	Values   []string `json:"values"`
}

var errSelector = errors.New("kubernetes: not a label selector")

// parseSelector refuses an empty selector, which in Kubernetes matches every namespace.
func parseSelector(text string) (*selector, error) {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	var s *selector
	if err := d.Decode(&s); err != nil || s == nil {
		return nil, errSelector
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) || len(s.Labels)+len(s.Expressions) == 0 {
		return nil, errSelector
	}
	for _, e := range s.Expressions {
		set := e.Operator == "In" || e.Operator == "NotIn"
		if e.Key == "" || set != (len(e.Values) > 0) || !set && e.Operator != "Exists" && e.Operator != "DoesNotExist" {
			return nil, errSelector
		}
	}
	return s, nil
}

// matches reports whether all requirements hold.
func (s *selector) matches(labels map[string]string) bool {
	for key, want := range s.Labels {
		if have, ok := labels[key]; !ok || have != want {
			return false
		}
	}
	return !slices.ContainsFunc(s.Expressions, func(e expression) bool { return !e.holds(labels) })
}

func (e *expression) holds(labels map[string]string) bool {
	have, ok := labels[e.Key]
	switch e.Operator {
	case "In":
		return ok && slices.Contains(e.Values, have)
	case "NotIn":
		return !ok || !slices.Contains(e.Values, have)
	case "Exists":
		return ok
	}
	return !ok // DoesNotExist
}
