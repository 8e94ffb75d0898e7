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

// Config is what the admin decides about the rules. A rule that is not named here cannot be switched off.
type Config struct {
	// Rules are the settings of the rules, by their ids.
	Rules Rules `json:"rules"`
	// Namespaces are settings of some namespaces. The first whose selector takes a namespace holds for it.
	Namespaces []NamespaceRules `json:"namespaces,omitempty"`
	// Custom are the severities of the admin's own rules, by their ids, where they shall differ from what the rules say.
	Custom map[string]Rule `json:"custom,omitempty"`
	// Exemptions are who is excepted from what, and why. The first that fits holds.
	Exemptions []Exemption `json:"exemptions,omitempty"`
}

// NamespaceRules are settings for the servers of some namespaces.
type NamespaceRules struct {
	// Selector is about the labels of namespaces.
	Selector metav1.LabelSelector `json:"selector"`
	// Rules are settings like those for all, as JSON. What they do not say is as it is for all.
	Rules json.RawMessage `json:"rules"`
}

// Exemption excepts servers from rules.
type Exemption struct {
	// Rules are the ids of the rules.
	Rules []string `json:"rules"`
	// Namespaces selects the namespaces of the servers by their labels.
	Namespaces *metav1.LabelSelector `json:"namespaces,omitempty"`
	// Servers are the servers, each as NAMESPACE/NAME. One of Namespaces and Servers is needed.
	Servers []string `json:"servers,omitempty"`
	// Reason is why. It is kept in the verdicts.
	Reason string `json:"reason"`
}

// Rules are the settings of the rules. In all of them an empty list, text or number sets no bound.
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

// Severity says what a verdict of a rule means.
type Severity string

const (
	// Deny refuses the server.
	Deny Severity = "deny"
	// Warn tells, and lets the server pass.
	Warn Severity = "warn"
	// Audit reports to the admin what would be refused, and lets the server pass.
	Audit Severity = "audit"
	// Off does not ask the rule.
	Off Severity = "off"
	// Exempt is what a verdict has that an Exemption sets aside. No rule can be set to it.
	Exempt Severity = "exempt"
)

// UnmarshalJSON takes false for off, because that is what a bare off means in YAML 1.1.
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
		return fmt.Errorf("severity: %s is none of deny, warn, audit and off", raw)
	}
	return nil
}

// Rule is what every rule has.
type Rule struct {
	// Severity is deny, warn, audit or off.
	Severity Severity `json:"severity"`
}

// Allowed is a rule with a list of what is allowed.
type Allowed struct {
	Rule `json:",inline"`
	// Allowed lists it. Empty: anything is. For image-registries: registries, and repositories or their beginnings up to a
	// slash. For ingress-annotations: keys, or their beginnings up to a slash and a star. For ingress-classes the entry "" allows
	// to name none.
	Allowed []string `json:"allowed"`
}

// AuthNone is about auth.mode none, and about pods whose Jupyter asks for no token.
type AuthNone struct {
	Rule `json:",inline"`
	// Allow lets everybody into servers that ask for it.
	Allow bool `json:"allow"`
}

// Hosts is about the names of URLs.
type Hosts struct {
	Rule `json:",inline"`
	// AllowedSuffixes are names that may be used, with all below them. {namespace} stands for the server's namespace.
	AllowedSuffixes []string `json:"allowedSuffixes"`
}

// ImageTags is about what images are called by.
type ImageTags struct {
	Rule `json:",inline"`
	// Forbidden are tags that may not be used, such as latest, which an image without tag and digest has too.
	Forbidden []string `json:"forbidden"`
	// RequireDigest wants a digest for every image.
	RequireDigest bool `json:"requireDigest"`
}

// Names is about names of servers.
type Names struct {
	Rule `json:",inline"`
	// Pattern is a regular expression for the whole name.
	Pattern string `json:"pattern"`
}

// NodeSelectors is about how pods choose nodes.
type NodeSelectors struct {
	Rule `json:",inline"`
	// AllowedKeys are the labels by which nodes may be chosen.
	AllowedKeys []string `json:"allowedKeys"`
}

// PodSecurity is about the Pod Security Standards.
type PodSecurity struct {
	Rule `json:",inline"`
	// Level is baseline or restricted.
	Level string `json:"level"`
}

// ResourcesBounds is about what a server takes of a node.
type ResourcesBounds struct {
	Rule `json:",inline"`
	// MaxCPU, MaxMemory and MaxGPU are bounds for all containers of a pod together.
	MaxCPU    string `json:"maxCPU"`
	MaxMemory string `json:"maxMemory"`
	MaxGPU    string `json:"maxGPU"`
	// GPUs are the resources that count as GPUs.
	GPUs []string `json:"gpus"`
	// RequiredRequests and RequiredLimits are resources that every container must state.
	RequiredRequests []string `json:"requiredRequests"`
	RequiredLimits   []string `json:"requiredLimits"`
}

// RouteTaken is about servers that are in each other's way.
type RouteTaken struct {
	Rule `json:",inline"`
	// OwnPaths are the names directly below a server that its Jupyter and its sign-in use themselves.
	OwnPaths []string `json:"ownPaths"`
}

// ServiceAccountToken is about pods that may talk to the API server.
type ServiceAccountToken struct {
	Rule `json:",inline"`
	// Allowed are the service accounts whose tokens pods may have. Empty: none.
	Allowed []string `json:"allowed"`
}

// StorageBounds is about volumes.
type StorageBounds struct {
	Rule `json:",inline"`
	// MaxSize is the bound of each volume.
	MaxSize string `json:"maxSize"`
	// Classes are the storage classes that may be used. The entry "" allows to name none.
	Classes []string `json:"classes"`
}

// TokenLength is about tokens in the spec itself.
type TokenLength struct {
	Rule `json:",inline"`
	// Minimum is how many characters a token must have.
	Minimum int `json:"minimum"`
}

// Default is what holds when the admin decides nothing. It is the same as defaults in admission.rego.
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

// Parse reads a configuration from YAML, over the defaults. Its errors name the field. A field that is not known is an error,
// so that a misspelt setting does not go unnoticed.
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

// Validate names every field that cannot work, and what to do.
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

// with are the rules with other settings over them.
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
		return Rules{}, errors.New("is missing, name the settings that differ")
	}
	return out, unmarshal(settings, &out)
}

func (e Exemption) validate() error {
	switch {
	case len(e.Rules) == 0:
		return errors.New("rules: is empty, name the ids of the rules")
	case slices.Contains(e.Rules, oidcIntact):
		return fmt.Errorf("rules: nothing is exempt from %s, which holds the access control together", oidcIntact)
	case (e.Namespaces == nil) == (len(e.Servers) == 0):
		return errors.New("servers: give either servers or namespaces")
	case strings.TrimSpace(e.Reason) == "":
		return errors.New("reason: is empty, say why, so that somebody can tell later whether it still holds")
	}
	for i, id := range e.Rules {
		if !ruleID.MatchString(id) {
			return fmt.Errorf("rules[%d]: %q is no id of a rule", i, id)
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
		return errors.New("namespaces: selects every namespace; to switch a rule off, set its severity")
	}
	return nil
}

// ruleID is what ids look like. They become reasons of conditions, in another spelling.
var ruleID = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// checkCustomID says what is wrong with the id of an admin's own rule.
func checkCustomID(id string) error {
	if !ruleID.MatchString(id) {
		return fmt.Errorf("%q is no id of a rule, use small letters, digits and hyphens, such as team-label", id)
	}
	if len(id) > maxID {
		return fmt.Errorf("%q has %d characters, but an id has at most %d", id, len(id), maxID)
	}
	if isBuiltIn(id) {
		return fmt.Errorf("%q is the id of a built-in rule, choose another one", id)
	}
	if slices.Contains([]string{"compliant", "exempt", "policy-error", "not-judged"}, id) {
		return fmt.Errorf("%q would look like something else in the status, choose another one", id)
	}
	return nil
}

// maxID is what an id may have: it becomes a reason of a condition and a label of a metric.
const maxID = 63

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

// validate names every field that cannot work, and what to do.
func (r Rules) validate(prefix string) (errs []error) {
	wrong := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf(prefix+field+": "+format, args...))
	}
	for i, entry := range r.ImageRegistries.Allowed {
		if registry, _, _ := strings.Cut(entry, "/"); !strings.ContainsAny(registry, ".:") && registry != "localhost" {
			wrong(fmt.Sprintf("image-registries.allowed[%d]", i), "%q begins with no registry, write it out, such as docker.io/library/python", entry)
		}
	}
	for i, entry := range r.Hosts.AllowedSuffixes {
		if rest := strings.ReplaceAll(strings.Trim(entry, "*."), "{namespace}", "x"); !hostName.MatchString(rest) {
			wrong(fmt.Sprintf("hosts.allowedSuffixes[%d]", i), "%q is no DNS name in lower case, which may hold {namespace}", entry)
		}
	}
	for _, bound := range []struct{ field, value string }{
		{"resources-bounds.maxCPU", r.ResourcesBounds.MaxCPU},
		{"resources-bounds.maxMemory", r.ResourcesBounds.MaxMemory},
		{"resources-bounds.maxGPU", r.ResourcesBounds.MaxGPU},
		{"storage-bounds.maxSize", r.StorageBounds.MaxSize},
	} {
		if _, err := resource.ParseQuantity(bound.value); bound.value != "" && err != nil {
			wrong(bound.field, "%q is no quantity, write one such as 500m, 2 or 4Gi", bound.value)
		}
	}
	if _, err := regexp.Compile(r.Names.Pattern); err != nil {
		wrong("names.pattern", "%q is no regular expression: %v", r.Names.Pattern, err)
	}
	if level := r.PodSecurity.Level; level != "baseline" && level != "restricted" {
		wrong("pod-security.level", "%q is none of baseline and restricted; for no level at all, set severity to off", level)
	}
	if r.TokenLength.Minimum < 0 {
		wrong("token-length.minimum", "%d is below zero", r.TokenLength.Minimum)
	}
	return errs
}

var hostName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
