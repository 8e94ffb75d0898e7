// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package postrender

import (
	"embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/template"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

//go:embed templates/*.yaml
var templateFiles embed.FS

// templates are the embedded templates, parsed once.
var templates = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("").Option("missingkey=error").Funcs(functions).ParseFS(templateFiles, "templates/*.yaml"))
})

// fillTemplate executes an embedded template.
func fillTemplate(name string, data any) (string, error) {
	var out limited
	if err := templates().ExecuteTemplate(&out, name, data); err != nil {
		return "", inOneLine(err)
	}
	return out.String(), nil
}

// reserved is the prefix of the names of the containers, volumes and ports of the access control.
const reserved = "access-"

// podData are the fields that templates/pod.yaml uses.
type podData struct {
	accessProxy

	Profile                         Profile
	PluginArgs                      []string
	PluginFiles                     []pluginFile
	AccessConfigMap, RulesConfigMap string
	SecurityContext                 any
	Checksum                        string
}

type pluginFile struct{ Key, Name string }

// sidecarSecurity complies with the restricted Pod Security Standard, whatever user, group, capabilities and seccomp profile
// the pod sets. AppArmor and SELinux are inherited from the pod.
var sidecarSecurity = map[string]any{
	"allowPrivilegeEscalation": false,
	"capabilities":             map[string]any{"drop": []string{"ALL"}},
	"privileged":               false,
	"readOnlyRootFilesystem":   true,
	"runAsGroup":               65532,
	"runAsNonRoot":             true,
	"runAsUser":                65532,
	"seccompProfile":           map[string]any{"type": "RuntimeDefault"},
}

func (a access) accessConfigMap() string { return a.server + "-access" }
func (a access) rulesConfigMap() string  { return a.server + "-access-rules" }

// addToPod adds the sidecars and their volumes to the StatefulSet's pod, before the user's containers.
func (a access) addToPod(d *document, f files) error {
	if err := unprotected(d); err != nil {
		return err
	}
	var pluginFiles []pluginFile
	for _, name := range slices.Sorted(maps.Keys(a.plugin.Files)) {
		pluginFiles = append(pluginFiles, pluginFile{name, name})
	}
	text, err := fillTemplate("pod.yaml", podData{
		accessProxy: a.accessProxy, Profile: a.profile, PluginArgs: a.plugin.Args, PluginFiles: pluginFiles,
		AccessConfigMap: a.accessConfigMap(), RulesConfigMap: a.rulesConfigMap(),
		SecurityContext: sidecarSecurity, Checksum: f.digest(),
	})
	if err != nil {
		return err
	}
	parts, err := parsePart(text)
	if err != nil {
		return err
	}
	return d.edit(func(object *yaml.RNode) error {
		annotations, err := object.Pipe(yaml.LookupCreate(yaml.MappingNode, "spec", "template", "metadata", "annotations"))
		if err != nil {
			return err
		}
		if err := parts.Field("annotations").Value.VisitFields(func(field *yaml.MapNode) error {
			return annotations.PipeE(yaml.SetField(field.Key.YNode().Value, field.Value))
		}); err != nil {
			return err
		}
		if err := prepend(object, parts, "initContainers"); err != nil {
			return err
		}
		return prepend(object, parts, "volumes")
	})
}

// unprotected returns an error if a container, volume or port of the pod has a reserved name, or if a container mounts a
// reserved volume.
func unprotected(d *document) error {
	pod, err := d.node.Pipe(yaml.Lookup("spec", "template", "spec"))
	if err != nil || pod == nil {
		return errors.New("spec.template.spec is missing")
	}
	for _, list := range []string{"initContainers", "containers", "volumes"} {
		if err := eachOf(pod, list, func(item *yaml.RNode) error {
			if name := nameOf(item); strings.HasPrefix(name, reserved) {
				return fmt.Errorf("%s contains %s: names that begin with %s are reserved for the access control, choose another one", list, name, reserved)
			}
			if err := eachOf(item, "ports", func(port *yaml.RNode) error {
				if name := nameOf(port); strings.HasPrefix(name, reserved) {
					return fmt.Errorf("%s %s has a port %s: names that begin with %s are reserved for the access control", list, nameOf(item), name, reserved)
				}
				return nil
			}); err != nil {
				return err
			}
			return eachOf(item, "volumeMounts", func(mount *yaml.RNode) error {
				if name := nameOf(mount); strings.HasPrefix(name, reserved) {
					return fmt.Errorf("%s %s mounts %s: volumes that begin with %s are reserved for the access control", list, nameOf(item), name, reserved)
				}
				return nil
			})
		}); err != nil {
			return err
		}
	}
	return nil
}

// eachOf visits the items of a list, which may be missing.
func eachOf(object *yaml.RNode, list string, visit func(*yaml.RNode) error) error {
	field := object.Field(list)
	if field.IsNilOrEmpty() {
		return nil
	}
	return field.Value.VisitElements(visit)
}

// nameOf returns the name of an item, or "" if it has none.
func nameOf(object *yaml.RNode) string {
	field := object.Field("name")
	if field.IsNilOrEmpty() {
		return ""
	}
	return field.Value.YNode().Value
}

// prepend inserts the items of a list of parts before those of the pod.
func prepend(object, parts *yaml.RNode, list string) error {
	ours := parts.Field(list).Value.YNode()
	existing, err := object.Pipe(yaml.LookupCreate(yaml.SequenceNode, "spec", "template", "spec", list))
	if err != nil {
		return err
	}
	node := existing.YNode()
	if node.Kind != yaml.SequenceNode {
		return fmt.Errorf("spec.template.spec.%s is not a list", list)
	}
	if len(node.Content) == 0 {
		node.Style &^= yaml.FlowStyle // an empty list is written as []
	}
	node.Content = slices.Concat(ours.Content, node.Content)
	return nil
}

// opsPort is the port of the authorization service for clients outside the pod (templates/pod.yaml, traefik.yaml). Services and
// NetworkPolicies refer to it and to proxyPort by number: a port of the user could have the same name.
const opsPort = 3001

func proxyPort() *yaml.RNode {
	return yaml.NewRNode(&yaml.Node{Kind: yaml.ScalarNode, Tag: yaml.NodeTagInt, Value: "8000"})
}

// pointService makes the Service target the proxy only.
func (a access) pointService(d *document) error {
	return d.edit(func(object *yaml.RNode) error {
		ports, err := object.Pipe(yaml.Lookup("spec", "ports"))
		if err != nil || ports == nil || len(ports.Content()) != 1 {
			return errors.New("spec.ports must have exactly one port, which then targets the proxy")
		}
		return ports.VisitElements(func(port *yaml.RNode) error {
			return port.PipeE(yaml.SetField("targetPort", proxyPort()))
		})
	})
}

// openPolicy admits the peers of Jupyter to the proxy, and the operator to the ops port of the authorization service.
func (a access) openPolicy(d *document) error {
	return d.edit(func(object *yaml.RNode) error {
		rules, err := object.Pipe(yaml.Lookup("spec", "ingress"))
		if err != nil || rules == nil {
			return errors.New("spec.ingress is missing")
		}
		if err := rules.VisitElements(func(rule *yaml.RNode) error {
			return eachOf(rule, "ports", func(port *yaml.RNode) error {
				return port.PipeE(yaml.SetField("port", proxyPort()))
			})
		}); err != nil {
			return err
		}
		if len(a.OperatorFrom) == 0 {
			return nil
		}
		rule, err := quoteYAML(map[string]any{"ports": []any{map[string]any{"port": opsPort, "protocol": "TCP"}}, "from": a.OperatorFrom})
		if err != nil {
			return err
		}
		part, err := parsePart(rule)
		if err != nil {
			return err
		}
		return rules.PipeE(yaml.Append(part.YNode()))
	})
}

// addConfigMaps adds the configuration of the sidecars. The rules have a separate ConfigMap because they may change without a
// new pod. Both come before the StatefulSet, in Helm's order of kinds.
func (a access) addConfigMaps(documents []*document, f files) ([]*document, error) {
	rules, err := a.rules()
	if err != nil {
		return nil, err
	}
	index := slices.IndexFunc(documents, func(d *document) bool { return d.kind() == "StatefulSet" && d.name() == a.server })
	labels := documents[index].node.GetLabels()
	var added []*document
	for _, object := range []struct {
		name string
		data map[string]string
	}{{a.accessConfigMap(), f}, {a.rulesConfigMap(), map[string]string{"authorization.json": string(rules) + "\n"}}} {
		text, err := yaml.Marshal(configMap{"v1", "ConfigMap", metadata{object.name, a.namespace, labels}, object.data})
		if err != nil {
			return nil, err
		}
		documents, err := parse([]byte("---\n# Source: postrender/access.go\n" + string(text)))
		if err != nil {
			return nil, err
		}
		added = append(added, documents...)
	}
	return slices.Insert(documents, index, added...), nil
}

type configMap struct {
	APIVersion string            `yaml:"apiVersion"`
	Kind       string            `yaml:"kind"`
	Metadata   metadata          `yaml:"metadata"`
	Data       map[string]string `yaml:"data"`
}

type metadata struct {
	Name      string            `yaml:"name"`
	Namespace string            `yaml:"namespace,omitempty"`
	Labels    map[string]string `yaml:"labels,omitempty"`
}

// parsePart parses a generated piece of YAML.
func parsePart(text string) (*yaml.RNode, error) {
	node, err := parseYAML([]byte(text))
	if err != nil {
		return nil, err
	}
	return yaml.NewRNode(node), nil
}
