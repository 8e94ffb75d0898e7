// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Config is the administrator's configuration of the rules. A rule that it does not have cannot be disabled.
type Config struct {
	// Rules are the settings of the rules, by ID.
	Rules Rules `json:"rules"`
	// Namespaces are settings for some namespaces. The first entry whose selector matches a namespace applies to it.
	Namespaces []NamespaceRules `json:"namespaces,omitempty"`
	// Custom overrides the severities of custom rules, by ID.
	Custom map[string]Rule `json:"custom,omitempty"`
	// Exemptions exempt servers from rules. The first that matches applies.
	Exemptions []Exemption `json:"exemptions,omitempty"`
}

// NamespaceRules are settings for the servers of some namespaces.
type NamespaceRules struct {
	// Selector selects namespaces by their labels.
	Selector metav1.LabelSelector `json:"selector"`
	// Rules are settings like Config.Rules, as JSON. Missing settings are inherited from Config.Rules.
	Rules json.RawMessage `json:"rules"`
}

// Exemption exempts servers from rules.
type Exemption struct {
	// Rules are the IDs of the rules.
	Rules []string `json:"rules"`
	// Namespaces selects the namespaces of the servers by their labels.
	Namespaces *metav1.LabelSelector `json:"namespaces,omitempty"`
	// Servers are the servers, each as NAMESPACE/NAME. Exactly one of Namespaces and Servers is required.
	Servers []string `json:"servers,omitempty"`
	// Reason is why. It is part of the verdicts.
	Reason string `json:"reason"`
}

// Rules are the settings of the rules. An empty list, string or number sets no bound.
type Rules struct {
	AuthAnyAuthenticated Rule                `json:"auth-any-authenticated"`
	AuthIssuers          Allowed             `json:"auth-issuers"`
	AuthIssuersHTTPS     Rule                `json:"auth-issuers-https"`
	AuthNone             AuthNone            `json:"auth-none"`
	Hosts                Hosts               `json:"hosts"`
	ImageRegistries      Allowed             `json:"image-registries"`
	ImageTags            ImageTags           `json:"image-tags"`
	IngressAnnotations   Allowed             `json:"ingress-annotations"`
	IngressClasses       Allowed             `json:"ingress-classes"`
	InlineSecrets        Rule                `json:"inline-secrets"`
	Names                Names               `json:"names"`
	NodeSelectors        NodeSelectors       `json:"node-selectors"`
	OIDCTLS              Rule                `json:"oidc-tls"`
	PodSecurity          PodSecurity         `json:"pod-security"`
	RenderedKinds        Rule                `json:"rendered-kinds"`
	ResourcesBounds      ResourcesBounds     `json:"resources-bounds"`
	RouteOverlap         Rule                `json:"route-overlap"`
	RouteTaken           RouteTaken          `json:"route-taken"`
	ServiceAccountToken  ServiceAccountToken `json:"service-account-token"`
	StorageBounds        StorageBounds       `json:"storage-bounds"`
	TLSRequired          Rule                `json:"tls-required"`
	TokenLength          TokenLength         `json:"token-length"`
}

// Severity is the effect of a verdict.
type Severity string

const (
	// Deny rejects the server.
	Deny Severity = "deny"
	// Warn reports a warning and allows the server.
	Warn Severity = "warn"
	// Audit reports the violation to the administrator and allows the server.
	Audit Severity = "audit"
	// Off disables the rule.
	Off Severity = "off"
	// Exempt is the severity of verdicts that an Exemption covers. It cannot be configured.
	Exempt Severity = "exempt"
)

// UnmarshalJSON accepts false as off, because YAML 1.1 reads an unquoted off as false.
func (s *Severity) UnmarshalJSON(raw []byte) error {
	switch string(raw) {
	case "false", `"off"`:
		*s = Off
	case `"deny"`:
		*s = Deny
	case `"warn"`:
		*s = Warn
	case `"audit"`:
		*s = Audit
	default:
		return fmt.Errorf("severity: %s is not one of deny, warn, audit and off", raw)
	}
	return nil
}

// Rule holds the settings of every rule.
type Rule struct {
	// Severity is deny, warn, audit or off.
	Severity Severity `json:"severity"`
}

// Allowed configures a rule with a list of allowed values.
type Allowed struct {
	Rule `json:",inline"`
	// Allowed lists the allowed values. An empty list allows any. For image-registries: registries, and repositories or their
	// prefixes up to a slash. For ingress-annotations: keys, or DOMAIN/*. For ingress-classes the entry "" allows Ingresses
	// without a class.
	Allowed []string `json:"allowed"`
}

// AuthNone configures auth.mode none and pods whose Jupyter requires no token.
type AuthNone struct {
	Rule `json:",inline"`
	// Allow allows servers that anyone can use.
	Allow bool `json:"allow"`
}

// Hosts configures the host names of servers.
type Hosts struct {
	Rule `json:",inline"`
	// AllowedSuffixes are the allowed names, with their subdomains. {namespace} stands for the server's namespace.
	AllowedSuffixes []string `json:"allowedSuffixes"`
}

// ImageTags configures how images are referenced.
type ImageTags struct {
	Rule `json:",inline"`
	// Forbidden are forbidden tags, such as latest, which is also the tag of an image without tag and digest.
	Forbidden []string `json:"forbidden"`
	// RequireDigest requires a digest for every image.
	RequireDigest bool `json:"requireDigest"`
}

// Names configures the names of servers.
type Names struct {
	Rule `json:",inline"`
	// Pattern is a regular expression for the whole name.
	Pattern string `json:"pattern"`
}

// NodeSelectors configures how pods select nodes.
type NodeSelectors struct {
	Rule `json:",inline"`
	// AllowedKeys are the labels that may select nodes.
	AllowedKeys []string `json:"allowedKeys"`
}

// PodSecurity configures the Pod Security Standards.
type PodSecurity struct {
	Rule `json:",inline"`
	// Level is baseline or restricted.
	Level string `json:"level"`
}

// ResourcesBounds configures the resources of servers.
type ResourcesBounds struct {
	Rule `json:",inline"`
	// MaxCPU, MaxMemory and MaxGPU are bounds for the sum over all containers of a pod.
	MaxCPU    string `json:"maxCPU"`
	MaxMemory string `json:"maxMemory"`
	MaxGPU    string `json:"maxGPU"`
	// GPUs are the names of resources that count as GPUs.
	GPUs []string `json:"gpus"`
	// RequiredRequests and RequiredLimits are the resources that every container must set.
	RequiredRequests []string `json:"requiredRequests"`
	RequiredLimits   []string `json:"requiredLimits"`
}

// RouteTaken configures conflicts between the routes of servers.
type RouteTaken struct {
	Rule `json:",inline"`
	// OwnPaths are the path segments directly below a server that its Jupyter and its sign-in use.
	OwnPaths []string `json:"ownPaths"`
}

// ServiceAccountToken configures pods with a service account token.
type ServiceAccountToken struct {
	Rule `json:",inline"`
	// Allowed are the service accounts whose tokens pods may have. An empty list allows none.
	Allowed []string `json:"allowed"`
}

// StorageBounds configures volumes.
type StorageBounds struct {
	Rule `json:",inline"`
	// MaxSize is the bound for each volume.
	MaxSize string `json:"maxSize"`
	// Classes are the allowed storage classes. The entry "" allows claims without a class.
	Classes []string `json:"classes"`
}

// TokenLength configures tokens in the spec.
type TokenLength struct {
	Rule `json:",inline"`
	// Minimum is the minimum length of a token, in characters.
	Minimum int `json:"minimum"`
}

// Default returns the default configuration. It equals defaults in admission.rego.
func Default() Config {
	deny, warn := Rule{Deny}, Rule{Warn}
	return Config{Rules: Rules{
		AuthAnyAuthenticated: warn,
		AuthIssuers:          Allowed{deny, []string{}},
		AuthIssuersHTTPS:     warn,
		AuthNone:             AuthNone{Rule: deny},
		Hosts:                Hosts{deny, []string{}},
		ImageRegistries:      Allowed{deny, []string{}},
		ImageTags:            ImageTags{deny, []string{}, false},
		IngressAnnotations: Allowed{deny, []string{
			"cert-manager.io/cluster-issuer",
			"cert-manager.io/issuer",
			"kubernetes.io/ingress.class",
			"kubernetes.io/tls-acme",
			"nginx.ingress.kubernetes.io/force-ssl-redirect",
			"nginx.ingress.kubernetes.io/proxy-body-size",
			"nginx.ingress.kubernetes.io/proxy-buffer-size",
			"nginx.ingress.kubernetes.io/proxy-buffering",
			"nginx.ingress.kubernetes.io/proxy-connect-timeout",
			"nginx.ingress.kubernetes.io/proxy-read-timeout",
			"nginx.ingress.kubernetes.io/proxy-send-timeout",
			"nginx.ingress.kubernetes.io/ssl-redirect",
			"traefik.ingress.kubernetes.io/router.entrypoints",
			"traefik.ingress.kubernetes.io/router.tls",
		}},
		IngressClasses: Allowed{deny, []string{}},
		InlineSecrets:  warn,
		Names:          Names{Rule: deny},
		NodeSelectors:  NodeSelectors{deny, []string{}},
		OIDCTLS:        warn,
		PodSecurity:    PodSecurity{deny, "baseline"},
		RenderedKinds:  deny,
		ResourcesBounds: ResourcesBounds{
			Rule: deny, GPUs: []string{"amd.com/gpu", "gpu.intel.com/i915", "gpu.intel.com/xe", "nvidia.com/gpu"},
			RequiredRequests: []string{}, RequiredLimits: []string{},
		},
		RouteOverlap: warn,
		RouteTaken: RouteTaken{deny, []string{
			"api", "consoles", "custom", "doc", "edit", "files", "kernelspecs", "lab", "login", "logout", "lsp", "metrics",
			"nbconvert", "notebooks", "oauth2", "proxy", "static", "terminals", "tree", "view",
		}},
		ServiceAccountToken: ServiceAccountToken{warn, []string{}},
		StorageBounds:       StorageBounds{Rule: deny, Classes: []string{}},
		TLSRequired:         Rule{Off},
		TokenLength:         TokenLength{deny, 16},
	}}
}

// Parse decodes a configuration from YAML over the defaults. Its errors name the field. Unknown fields are errors, so that a
// misspelt setting is noticed.
func Parse(raw []byte) (Config, error) {
	c := Default()
	text, err := yaml.YAMLToJSONStrict(raw)
	if err != nil {
		return Config{}, err
	}
	if err := unmarshal(text, &c); err != nil {
		return Config{}, err
	}
	return c, c.Validate()
}

func unmarshal(text []byte, into any) error {
	strict, err := kjson.UnmarshalStrict(text, into)
	return errors.Join(append(strict, err)...)
}

// Validate returns an error that names every invalid field and how to fix it.
func (c Config) Validate() error {
	errs := c.Rules.validate("rules.")
	for i, entry := range c.Namespaces {
		field := fmt.Sprintf("namespaces[%d].", i)
		if _, err := metav1.LabelSelectorAsSelector(&entry.Selector); err != nil {
			errs = append(errs, fmt.Errorf("%sselector: %w", field, err))
		}
		rules, err := c.Rules.with(entry.Rules)
		if err != nil {
			errs = append(errs, fmt.Errorf("%srules: %w", field, err))
			continue
		}
		errs = append(errs, rules.validate(field+"rules.")...)
	}
	for id := range c.Custom {
		if err := checkCustomID(id); err != nil {
			errs = append(errs, fmt.Errorf("custom: %w", err))
		}
	}
	for i, exemption := range c.Exemptions {
		if err := exemption.validate(); err != nil {
			errs = append(errs, fmt.Errorf("exemptions[%d].%w", i, err))
		}
	}
	return errors.Join(errs...)
}

// with returns the rules with other settings merged over them.
func (r Rules) with(settings []byte) (Rules, error) {
	var out Rules
	own, err := json.Marshal(r) // so that the two share no list
	if err != nil {
		return Rules{}, err
	}
	if err := json.Unmarshal(own, &out); err != nil {
		return Rules{}, err
	}
	if len(settings) == 0 {
		return Rules{}, errors.New("must not be empty: set the settings that differ")
	}
	return out, unmarshal(settings, &out)
}

func (e Exemption) validate() error {
	switch {
	case len(e.Rules) == 0:
		return errors.New("rules: must not be empty: list the IDs of the rules")
	case slices.Contains(e.Rules, oidcIntact):
		return fmt.Errorf("rules: %s does not allow exemptions, because it protects the access control", oidcIntact)
	case (e.Namespaces == nil) == (len(e.Servers) == 0):
		return errors.New("servers: set either servers or namespaces")
	case strings.TrimSpace(e.Reason) == "":
		return errors.New("reason: must not be empty: state why, so that the exemption can be reviewed later")
	}
	for i, id := range e.Rules {
		if !ruleID.MatchString(id) {
			return fmt.Errorf("rules[%d]: %q is not a rule ID", i, id)
		}
	}
	for i, server := range e.Servers {
		if namespace, name, both := strings.Cut(server, "/"); !both || namespace == "" || name == "" || strings.Contains(name, "/") {
			return fmt.Errorf("servers[%d]: %q is not NAMESPACE/NAME", i, server)
		}
	}
	if e.Namespaces == nil {
		return nil
	}
	selector, err := metav1.LabelSelectorAsSelector(e.Namespaces)
	if err != nil {
		return fmt.Errorf("namespaces: %w", err)
	}
	if selector.Empty() {
		return errors.New("namespaces: selects every namespace; to disable a rule, set its severity to off")
	}
	return nil
}

// ruleID is the format of rule IDs. They become reasons of conditions, in camel case.
var ruleID = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// checkCustomID returns an error if a custom rule may not have the ID.
func checkCustomID(id string) error {
	if !ruleID.MatchString(id) {
		return fmt.Errorf("%q is not a rule ID: use lower-case letters, digits and hyphens, such as team-label", id)
	}
	if len(id) > maxIDLength {
		return fmt.Errorf("%q has %d characters; the maximum is %d", id, len(id), maxIDLength)
	}
	if isBuiltIn(id) {
		return fmt.Errorf("%q is the ID of a built-in rule: choose another one", id)
	}
	if slices.Contains([]string{"compliant", "exempt", "policy-error", "not-judged"}, id) {
		return fmt.Errorf("%q is reserved for the status: choose another one", id)
	}
	return nil
}

// maxIDLength limits an ID, which becomes a reason of a condition and a label of a metric.
const maxIDLength = 63

func isBuiltIn(id string) bool {
	if id == oidcIntact {
		return true
	}
	rules := reflect.TypeFor[Rules]()
	for i := range rules.NumField() {
		if rules.Field(i).Tag.Get("json") == id {
			return true
		}
	}
	return false
}

// validate returns an error for every invalid field, with the way to fix it.
func (r Rules) validate(prefix string) (errs []error) {
	invalid := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf(prefix+field+": "+format, args...))
	}
	for i, entry := range r.ImageRegistries.Allowed {
		if registry, _, _ := strings.Cut(entry, "/"); !strings.ContainsAny(registry, ".:") && registry != "localhost" {
			invalid(fmt.Sprintf("image-registries.allowed[%d]", i), "%q does not begin with a registry: use the full name, such as docker.io/library/python", entry)
		}
	}
	for i, entry := range r.Hosts.AllowedSuffixes {
		if rest := strings.ReplaceAll(strings.Trim(entry, "*."), "{namespace}", "x"); !hostName.MatchString(rest) {
			invalid(fmt.Sprintf("hosts.allowedSuffixes[%d]", i), "%q is not a lower-case DNS name, which may contain {namespace}", entry)
		}
	}
	for _, bound := range []struct{ field, value string }{
		{"resources-bounds.maxCPU", r.ResourcesBounds.MaxCPU},
		{"resources-bounds.maxMemory", r.ResourcesBounds.MaxMemory},
		{"resources-bounds.maxGPU", r.ResourcesBounds.MaxGPU},
		{"storage-bounds.maxSize", r.StorageBounds.MaxSize},
	} {
		if _, err := resource.ParseQuantity(bound.value); bound.value != "" && err != nil {
			invalid(bound.field, "%q is not a quantity: use one such as 500m, 2 or 4Gi", bound.value)
		}
	}
	if _, err := regexp.Compile(r.Names.Pattern); err != nil {
		invalid("names.pattern", "%q is not a regular expression: %v", r.Names.Pattern, err)
	}
	if level := r.PodSecurity.Level; level != "baseline" && level != "restricted" {
		invalid("pod-security.level", "%q is not one of baseline and restricted; to disable the rule, set its severity to off", level)
	}
	if r.TokenLength.Minimum < 0 {
		invalid("token-length.minimum", "%d must not be negative", r.TokenLength.Minimum)
	}
	return errs
}

var hostName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
