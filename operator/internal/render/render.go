// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"strconv"
	"strings"

	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/config"
	"github.com/jupyterserver/jupyter-server-operator/postrender"
)

// References are digests of what a spec refers to. The zero value means that the contents are unknown, as on the command line.
type References struct {
	// SecretsChecksum is a checksum of the Secrets that the pod reads only when it starts.
	SecretsChecksum string
}

// Rendered is the result of rendering a server.
type Rendered struct {
	// Objects are the objects in Helm's install order, as the manifest lists them.
	Objects []*unstructured.Unstructured
	// Manifest is the text of the objects, as `helm get manifest` shows it. It contains no secret.
	Manifest string
	// Values are the chart's values: the spec without inline secrets, and the section operator.
	Values map[string]any
	// Digest is a digest of the chart, the values and the post-renderer: everything that determines the manifest.
	Digest string
	// SpecDigest is a digest of the server's own part of that: the spec and what it refers to.
	SpecDigest string
}

// Renderer renders servers with one chart and one configuration. It is safe for concurrent use.
type Renderer struct {
	chart       *helmchart.Chart
	chartDigest string
	templates   *templates
	config      config.Config
}

// New returns a renderer for the chart in files.
func New(files fs.FS, cfg config.Config) (*Renderer, error) {
	chart, digest, err := loadChart(files)
	if err != nil {
		return nil, err
	}
	parsed, err := parseTemplates(chart)
	if err != nil {
		return nil, err
	}
	return &Renderer{chart: chart, chartDigest: digest, templates: parsed, config: cfg}, nil
}

// ChartMetadata returns the name and version of the chart, for release records.
func (r *Renderer) ChartMetadata() *helmchart.Metadata { return r.chart.Metadata }

// Render returns the objects of a server. Its errors are for the author of the spec.
func (r *Renderer) Render(server *v1alpha1.JupyterServer, refs References) (*Rendered, error) {
	vals, err := values(server, r.config, refs)
	if err != nil {
		return nil, err
	}
	digest, err := r.digest(vals)
	if err != nil {
		return nil, err
	}
	specDigest, err := specDigest(vals, refs)
	if err != nil {
		return nil, err
	}
	documents, err := r.execute(server, vals)
	if err != nil {
		return nil, err
	}
	manifest, objects, err := finish(documents)
	if err != nil {
		return nil, cmp.Or(checkYAML(documents), err)
	}
	return &Rendered{Objects: objects, Manifest: string(manifest), Values: vals, Digest: digest, SpecDigest: specDigest}, nil
}

// Read restores Rendered from a release record, except for the digests.
func Read(manifest string, vals map[string]any) (*Rendered, error) {
	objects, err := split([]byte(manifest))
	if err != nil {
		return nil, err
	}
	return &Rendered{Objects: objects, Manifest: manifest, Values: vals}, nil
}

// digest covers everything that determines the manifest except the name and the namespace, which never change within a release.
func (r *Renderer) digest(vals map[string]any) (string, error) {
	raw, err := json.Marshal(vals) // the keys of maps are sorted
	if err != nil {
		return "", fmt.Errorf("digesting the values: %w", err)
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%s\n", r.chartDigest, postrender.Digest())
	sum.Write(raw)
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

// specDigest covers only the server's part: not the chart, the post-renderer and the configuration.
func specDigest(vals map[string]any, refs References) (string, error) {
	spec := maps.Clone(vals)
	delete(spec, operatorKey)
	raw, err := json.Marshal(spec)
	if err != nil {
		return "", fmt.Errorf("digesting the values: %w", err)
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n", refs.SecretsChecksum)
	sum.Write(raw)
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

// execute renders the chart with the values.
func (r *Renderer) execute(server *v1alpha1.JupyterServer, vals map[string]any) ([]document, error) {
	options := chartutil.ReleaseOptions{Name: server.Name, Namespace: server.Namespace, Revision: 1, IsInstall: true}
	top, err := chartutil.ToRenderValuesWithSchemaValidation(r.chart, vals, options, chartutil.DefaultCapabilities, true)
	if err != nil {
		return nil, fmt.Errorf("preparing the values: %w", err)
	}
	documents, err := r.templates.execute(top)
	if err != nil {
		return nil, fmt.Errorf("rendering the chart: %w", err)
	}
	return documents, nil
}

// forPostRenderer is the API group of the kinds for the post-renderer, which does not change a manifest without it.
const forPostRenderer = "postrender.jupyterserver.dev/"

// finish returns the manifest in the form of Helm's action.Configuration.renderResources, and its objects.
func finish(documents []document) ([]byte, []*unstructured.Unstructured, error) {
	var out bytes.Buffer
	for _, d := range documents {
		fmt.Fprintf(&out, "---\n# Source: %s\n%s\n", d.template, d.text)
	}
	manifest := out.Bytes()
	if bytes.Contains(manifest, []byte(forPostRenderer)) {
		var err error
		if manifest, err = postrender.Run(manifest); err != nil {
			return nil, nil, err
		}
	}
	objects, err := split(manifest)
	return manifest, objects, err
}

// split parses a manifest. Integers remain integers, as structured merging requires.
func split(manifest []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	for {
		var document runtime.RawExtension
		err := documents.Decode(&document)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the rendered manifest: %w", err)
		}
		if len(document.Raw) == 0 || string(document.Raw) == "null" {
			continue
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(document.Raw); err != nil {
			return nil, fmt.Errorf("reading the rendered manifest: %w", err)
		}
		objects = append(objects, object)
	}
}

// URL returns the address of the server, without any token.
func (r *Renderer) URL(server *v1alpha1.JupyterServer) string {
	routing := server.Spec.Routing
	scheme, port, standard := "http", r.config.Ingress.HTTPPort, 80
	if routing.TLS != nil && routing.TLS.Enabled {
		scheme, port, standard = "https", r.config.Ingress.HTTPSPort, 443
	}
	host := routing.Host
	if port != standard {
		host = net.JoinHostPort(host, strconv.Itoa(port))
	}
	return scheme + "://" + host + strings.TrimSuffix(routing.Path, "/") + "/"
}
