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
		"nothing":          {"", nil, "there are defaults"},
		"off":              {"rules: {tls-required: {severity: off}}", nil, "a bare off is false in YAML"},
		"quoted off":       {`rules: {tls-required: {severity: "off"}}`, nil, "it is what it says"},
		"severity":         {"rules: {tls-required: {severity: denied}}", []string{"severity", "denied"}, "it would mean nothing"},
		"no such rule":     {"rules: {tls: {severity: deny}}", []string{"rules.tls"}, "it would go unnoticed"},
		"no such setting":  {"rules: {auth-none: {alow: true}}", []string{"rules.auth-none.alow"}, "it would go unnoticed"},
		"fixed rule":       {"rules: {oidc-intact: {severity: warn}}", []string{"rules.oidc-intact"}, "the admin has no say in it"},
		"twice":            {"rules: {}\nrules: {}", []string{"rules"}, "only one of them would count"},
		"type":             {"rules: {token-length: {minimum: many}}", []string{"minimum"}, "it is no number"},
		"short registry":   {"rules: {image-registries: {allowed: [quay.io, jupyter]}}", []string{"rules.image-registries.allowed[1]", "docker.io"}, "no image would match it"},
		"registry":         {`rules: {image-registries: {allowed: [quay.io, "localhost:5000/x", docker.io/library/python]}}`, nil, "all have a registry"},
		"suffix":           {"rules: {hosts: {allowedSuffixes: [example.org/x]}}", []string{"rules.hosts.allowedSuffixes[0]"}, "no host would match it"},
		"placeholder":      {`rules: {hosts: {allowedSuffixes: ["*.{namespace}.example.org"]}}`, nil, "it stands for the namespace"},
		"other":            {`rules: {hosts: {allowedSuffixes: ["{name}.example.org"]}}`, []string{"rules.hosts.allowedSuffixes[0]"}, "there is one placeholder"},
		"quantity":         {"rules: {resources-bounds: {maxMemory: 4 GB}}", []string{"rules.resources-bounds.maxMemory", "4 GB"}, "it is no bound"},
		"pattern":          {"rules: {names: {pattern: '('}}", []string{"rules.names.pattern"}, "it does not compile"},
		"level":            {"rules: {pod-security: {level: privileged}}", []string{"rules.pod-security.level", "off"}, "there are two levels"},
		"negative":         {"rules: {token-length: {minimum: -1}}", []string{"rules.token-length.minimum"}, "it is no length"},
		"two wrong fields": {"rules: {names: {pattern: '('}, pod-security: {level: x}}", []string{"names.pattern", "pod-security.level"}, "both have to be mended"},
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
