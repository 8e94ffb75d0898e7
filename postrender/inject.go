// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package postrender

import (
	"embed"
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

// templates are our own, parsed once.
var templates = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("").Option("missingkey=error").Funcs(functions).ParseFS(templateFiles, "templates/*.yaml"))
})

// fillTemplate fills in one of our own templates.
func fillTemplate(name string, data any) (string, error) {
	var out limited
	if err := templates().ExecuteTemplate(&out, name, data); err != nil {
		return "", inOneLine(err)
	}
	return out.String(), nil
}

// reserved is what the names of our containers, volumes and ports begin with.
const reserved = "access-"

// podData is what templates/pod.yaml knows.
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

// sidecarSecurity fits the restricted Pod Security Standard, whatever user, group, capabilities and seccomp profile users set for
// the pod. AppArmor and SELinux stay the pod's.
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

// addToPod puts the sidecars and their volumes into the StatefulSet's pod. They come before the containers of the user.
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

// unprotected refuses a pod in which something has a name of ours, or looks into our volumes.
func unprotected(d *document) error {
	pod, err := d.node.Pipe(yaml.Lookup("spec", "template", "spec"))
	if err != nil || pod == nil {
		return fmt.Errorf("there is no pod in it (spec.template.spec)")
	}
	for _, list := range []string{"initContainers", "containers", "volumes"} {
		if err := eachOf(pod, list, func(item *yaml.RNode) error {
			if name := nameOf(item); strings.HasPrefix(name, reserved) {
				return fmt.Errorf("%s holds %s: names that begin with %s are those of the access control, choose another one", list, name, reserved)
			}
			if err := eachOf(item, "ports", func(port *yaml.RNode) error {
				if name := nameOf(port); strings.HasPrefix(name, reserved) {
					return fmt.Errorf("%s %s has a port %s: names that begin with %s are those of the access control", list, nameOf(item), name, reserved)
				}
				return nil
			}); err != nil {
				return err
			}
			return eachOf(item, "volumeMounts", func(mount *yaml.RNode) error {
				if name := nameOf(mount); strings.HasPrefix(name, reserved) {
					return fmt.Errorf("%s %s mounts %s: volumes that begin with %s are those of the access control", list, nameOf(item), name, reserved)
				}
				return nil
			})
		}); err != nil {
			return err
		}
	}
	return nil
}

// eachOf visits the items of a list that an object has, or not.
func eachOf(object *yaml.RNode, list string, visit func(*yaml.RNode) error) error {
	field := object.Field(list)
	if field.IsNilOrEmpty() {
		return nil
	}
	return field.Value.VisitElements(visit)
}

// nameOf is the name of an item, "" where there is none.
func nameOf(object *yaml.RNode) string {
	field := object.Field("name")
	if field.IsNilOrEmpty() {
		return ""
	}
	return field.Value.YNode().Value
}

// prepend puts the items of a list of parts before those that the pod has.
func prepend(object, parts *yaml.RNode, list string) error {
	ours := parts.Field(list).Value.YNode()
	there, err := object.Pipe(yaml.LookupCreate(yaml.SequenceNode, "spec", "template", "spec", list))
	if err != nil {
		return err
	}
	node := there.YNode()
	if node.Kind != yaml.SequenceNode {
		return fmt.Errorf("spec.template.spec.%s is no list", list)
	}
	if len(node.Content) == 0 {
		node.Style &^= yaml.FlowStyle // an empty list is written as []
	}
	node.Content = slices.Concat(ours.Content, node.Content)
	return nil
}

// Where proxy and authorization service are reached from outside of the pod (templates/pod.yaml, traefik.yaml). Services and
// NetworkPolicies name them by number: a port of the user's with our name could take the place of one that is named.
const opsPort = 3001

func proxyPort() *yaml.RNode {
	return yaml.NewRNode(&yaml.Node{Kind: yaml.ScalarNode, Tag: yaml.NodeTagInt, Value: "8000"})
}

// pointService leads to the proxy, and nowhere else.
func (a access) pointService(d *document) error {
	return d.edit(func(object *yaml.RNode) error {
		ports, err := object.Pipe(yaml.Lookup("spec", "ports"))
		if err != nil || ports == nil || len(ports.Content()) != 1 {
			return fmt.Errorf("it must have one port, which is led to the proxy")
		}
		return ports.VisitElements(func(port *yaml.RNode) error {
			return port.PipeE(yaml.SetField("targetPort", proxyPort()))
		})
	})
}

// openPolicy lets in to the proxy who was let in to Jupyter, and the operator to what tells it about the access control.
func (a access) openPolicy(d *document) error {
	return d.edit(func(object *yaml.RNode) error {
		rules, err := object.Pipe(yaml.Lookup("spec", "ingress"))
		if err != nil || rules == nil {
			return fmt.Errorf("it lets nobody in (spec.ingress)")
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

// addConfigMaps adds what the sidecars read. The rules have a ConfigMap of their own: they may change without a new pod. Both
// stand before the StatefulSet, as Helm orders kinds.
func (a access) addConfigMaps(documents []*document, f files) ([]*document, error) {
	rules, err := a.rules()
	if err != nil {
		return nil, err
	}
	place := slices.IndexFunc(documents, func(d *document) bool { return d.kind() == "StatefulSet" && d.name() == a.server })
	labels := documents[place].node.GetLabels() // what comes with the StatefulSet is known by its labels
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
	return slices.Insert(documents, place, added...), nil
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

// parsePart reads a piece of YAML of our own.
func parsePart(text string) (*yaml.RNode, error) {
	node, err := parseYAML([]byte(text))
	if err != nil {
		return nil, err
	}
	return yaml.NewRNode(node), nil
}
