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
		err    []string // empty: it is taken
		reason string
	}{
		"nothing":           {"", nil, "there are defaults"},
		"off":               {"rules: {tls-required: {severity: off}}", nil, "a bare off is false in YAML"},
		"quoted off":        {`rules: {tls-required: {severity: "off"}}`, nil, "it is what it says"},
		"severity":          {"rules: {tls-required: {severity: denied}}", []string{"severity", "denied"}, "it would mean nothing"},
		"no such rule":      {"rules: {tls: {severity: deny}}", []string{"rules.tls"}, "it would go unnoticed"},
		"no such setting":   {"rules: {auth-none: {alow: true}}", []string{"rules.auth-none.alow"}, "it would go unnoticed"},
		"fixed rule":        {"rules: {oidc-intact: {severity: warn}}", []string{"rules.oidc-intact"}, "the admin has no say in it"},
		"twice":             {"rules: {}\nrules: {}", []string{"rules"}, "only one of them would count"},
		"type":              {"rules: {token-length: {minimum: many}}", []string{"minimum"}, "it is no number"},
		"short registry":    {"rules: {image-registries: {allowed: [quay.io, jupyter]}}", []string{"rules.image-registries.allowed[1]", "docker.io"}, "no image would match it"},
		"registry":          {`rules: {image-registries: {allowed: [quay.io, "localhost:5000/x", docker.io/library/python]}}`, nil, "all have a registry"},
		"suffix":            {"rules: {hosts: {allowedSuffixes: [example.org/x]}}", []string{"rules.hosts.allowedSuffixes[0]"}, "no host would match it"},
		"placeholder":       {`rules: {hosts: {allowedSuffixes: ["*.{namespace}.example.org"]}}`, nil, "it stands for the namespace"},
		"other":             {`rules: {hosts: {allowedSuffixes: ["{name}.example.org"]}}`, []string{"rules.hosts.allowedSuffixes[0]"}, "there is one placeholder"},
		"quantity":          {"rules: {resources-bounds: {maxMemory: 4 GB}}", []string{"rules.resources-bounds.maxMemory", "4 GB"}, "it is no bound"},
		"pattern":           {"rules: {names: {pattern: '('}}", []string{"rules.names.pattern"}, "it does not compile"},
		"level":             {"rules: {pod-security: {level: privileged}}", []string{"rules.pod-security.level", "off"}, "there are two levels"},
		"negative":          {"rules: {token-length: {minimum: -1}}", []string{"rules.token-length.minimum"}, "it is no length"},
		"audit":             {"rules: {tls-required: {severity: audit}}", nil, "a rule may be tried out"},
		"exempt":            {"rules: {tls-required: {severity: exempt}}", []string{"exempt"}, "only exemptions exempt"},
		"namespaces":        {"namespaces: [{selector: {matchLabels: {a: b}}, rules: {auth-none: {allow: true}}}]", nil, "some may do more"},
		"namespaces' rule":  {"namespaces: [{selector: {}, rules: {auth-none: {alow: true}}}]", []string{"namespaces[0].rules", "alow"}, "it would go unnoticed"},
		"namespaces' bound": {"namespaces: [{selector: {}, rules: {storage-bounds: {maxSize: big}}}]", []string{"namespaces[0].rules.storage-bounds.maxSize"}, "it is no bound"},
		"selector":          {"namespaces: [{selector: {matchExpressions: [{key: a, operator: Is}]}, rules: {}}]", []string{"namespaces[0].selector"}, "there is no such operator"},
		"no rules":          {"namespaces: [{selector: {}}]", []string{"namespaces[0].rules"}, "it says nothing"},
		"own rule":          {"custom: {team-label: {severity: audit}}", nil, "severities of own rules can be set"},
		"own rule of ours":  {"custom: {auth-none: {severity: audit}}", []string{"custom", "auth-none"}, "it has its place under rules"},
		"own rule's id":     {"custom: {Team_Label: {severity: audit}}", []string{"custom", "Team_Label"}, "no rule can have it"},
		"exemption":         {"exemptions: [{rules: [names], servers: [a/b], reason: old}]", nil, "it says who, what and why"},
		"without a reason":  {"exemptions: [{rules: [names], servers: [a/b]}]", []string{"exemptions[0].reason"}, "nobody could tell later whether it still holds"},
		"without rules":     {"exemptions: [{servers: [a/b], reason: x}]", []string{"exemptions[0].rules"}, "it says nothing"},
		"without servers":   {"exemptions: [{rules: [names], reason: x}]", []string{"exemptions[0].servers"}, "it would be for all"},
		"server":            {"exemptions: [{rules: [names], servers: [b], reason: x}]", []string{"exemptions[0].servers[0]", "NAMESPACE/NAME"}, "no server has that name"},
		"all namespaces":    {"exemptions: [{rules: [names], namespaces: {}, reason: x}]", []string{"exemptions[0].namespaces"}, "that is what severities are for"},
		"open door":         {"exemptions: [{rules: [oidc-intact], servers: [a/b], reason: x}]", []string{"exemptions[0].rules", "oidc-intact"}, "nothing is exempt from it"},
		"two wrong fields":  {"rules: {names: {pattern: '('}, pod-security: {level: x}}", []string{"names.pattern", "pod-security.level"}, "both have to be mended"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := policies.Parse([]byte(test.text))
			if (err == nil) != (len(test.err) == 0) {
				t.Fatalf("got %v, though %s", err, test.reason)
			}
			for _, part := range test.err {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v does not name %q", err, part)
				}
			}
		})
	}
}

func TestConfigThatCannotWorkIsRefused(t *testing.T) {
	if _, err := policies.New(t.Context(), policies.Options{}); err == nil {
		t.Error("got no error for a configuration without anything")
	}
}
