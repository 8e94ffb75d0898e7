// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies_test

import (
	"strings"
	"testing"

	"github.com/jupyterserver/jupyter-server-operator/policies"
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		text   string
		err    []string // parts of the error; empty if valid
		reason string
	}{
		"nothing":            {"", nil, "everything has a default"},
		"off":                {"rules: {tls-required: {severity: off}}", nil, "an unquoted off is false in YAML"},
		"quoted off":         {`rules: {tls-required: {severity: "off"}}`, nil, "off can be quoted"},
		"severity":           {"rules: {tls-required: {severity: denied}}", []string{"severity", "denied"}, "the severity is unknown"},
		"unknown rule":       {"rules: {tls: {severity: deny}}", []string{"rules.tls"}, "a misspelt setting would have no effect"},
		"unknown setting":    {"rules: {auth-none: {alow: true}}", []string{"rules.auth-none.alow"}, "a misspelt setting would have no effect"},
		"fixed rule":         {"rules: {oidc-intact: {severity: warn}}", []string{"rules.oidc-intact"}, "the rule is not configurable"},
		"twice":              {"rules: {}\nrules: {}", []string{"rules"}, "duplicate keys are ambiguous"},
		"type":               {"rules: {token-length: {minimum: many}}", []string{"minimum"}, "the value is not a number"},
		"short registry":     {"rules: {image-registries: {allowed: [quay.io, jupyter]}}", []string{"rules.image-registries.allowed[1]", "docker.io"}, "no image would match it"},
		"registry":           {`rules: {image-registries: {allowed: [quay.io, "localhost:5000/x", docker.io/library/python]}}`, nil, "all entries have a registry"},
		"suffix":             {"rules: {hosts: {allowedSuffixes: [example.org/x]}}", []string{"rules.hosts.allowedSuffixes[0]"}, "no host would match it"},
		"placeholder":        {`rules: {hosts: {allowedSuffixes: ["*.{namespace}.example.org"]}}`, nil, "the placeholder stands for the namespace"},
		"other":              {`rules: {hosts: {allowedSuffixes: ["{name}.example.org"]}}`, []string{"rules.hosts.allowedSuffixes[0]"}, "the placeholder is unknown"},
		"quantity":           {"rules: {resources-bounds: {maxMemory: 4 GB}}", []string{"rules.resources-bounds.maxMemory", "4 GB"}, "the value is not a quantity"},
		"pattern":            {"rules: {names: {pattern: '('}}", []string{"rules.names.pattern"}, "the expression does not compile"},
		"level":              {"rules: {pod-security: {level: privileged}}", []string{"rules.pod-security.level", "off"}, "the level is unknown"},
		"negative":           {"rules: {token-length: {minimum: -1}}", []string{"rules.token-length.minimum"}, "a length is not negative"},
		"audit":              {"rules: {tls-required: {severity: audit}}", nil, "a rule can be audited"},
		"exempt":             {"rules: {tls-required: {severity: exempt}}", []string{"exempt"}, "exempt cannot be configured"},
		"namespaces":         {"namespaces: [{selector: {matchLabels: {a: b}}, rules: {auth-none: {allow: true}}}]", nil, "a namespace can have other settings"},
		"namespaces' rule":   {"namespaces: [{selector: {}, rules: {auth-none: {alow: true}}}]", []string{"namespaces[0].rules", "alow"}, "a misspelt setting would have no effect"},
		"namespaces' bound":  {"namespaces: [{selector: {}, rules: {storage-bounds: {maxSize: big}}}]", []string{"namespaces[0].rules.storage-bounds.maxSize"}, "the value is not a quantity"},
		"selector":           {"namespaces: [{selector: {matchExpressions: [{key: a, operator: Is}]}, rules: {}}]", []string{"namespaces[0].selector"}, "the operator is unknown"},
		"no rules":           {"namespaces: [{selector: {}}]", []string{"namespaces[0].rules"}, "the entry has no settings"},
		"custom rule":        {"custom: {team-label: {severity: audit}}", nil, "the severity of a custom rule can be set"},
		"built-in rule":      {"custom: {auth-none: {severity: audit}}", []string{"custom", "auth-none"}, "built-in rules are configured under rules"},
		"custom rule's ID":   {"custom: {Team_Label: {severity: audit}}", []string{"custom", "Team_Label"}, "the ID is invalid"},
		"exemption":          {"exemptions: [{rules: [names], servers: [a/b], reason: old}]", nil, "the exemption is complete"},
		"without a reason":   {"exemptions: [{rules: [names], servers: [a/b]}]", []string{"exemptions[0].reason"}, "an exemption must be reviewable"},
		"without rules":      {"exemptions: [{servers: [a/b], reason: x}]", []string{"exemptions[0].rules"}, "the exemption has no rules"},
		"without servers":    {"exemptions: [{rules: [names], reason: x}]", []string{"exemptions[0].servers"}, "the exemption would cover all servers"},
		"server":             {"exemptions: [{rules: [names], servers: [b], reason: x}]", []string{"exemptions[0].servers[0]", "NAMESPACE/NAME"}, "the name lacks a namespace"},
		"all namespaces":     {"exemptions: [{rules: [names], namespaces: {}, reason: x}]", []string{"exemptions[0].namespaces"}, "severities are for all namespaces"},
		"no exemption":       {"exemptions: [{rules: [oidc-intact], servers: [a/b], reason: x}]", []string{"exemptions[0].rules", "oidc-intact"}, "the rule allows no exemptions"},
		"two invalid fields": {"rules: {names: {pattern: '('}, pod-security: {level: x}}", []string{"names.pattern", "pod-security.level"}, "both errors are reported"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := policies.Parse([]byte(test.text))
			if (err == nil) != (len(test.err) == 0) {
				t.Fatalf("got %v, though %s", err, test.reason)
			}
			for _, part := range test.err {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v does not contain %q", err, part)
				}
			}
		})
	}
}

func TestInvalidConfigIsRejected(t *testing.T) {
	if _, err := policies.New(t.Context(), policies.Options{}); err == nil {
		t.Error("got no error for an empty configuration")
	}
}
