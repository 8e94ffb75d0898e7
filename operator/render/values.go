package render

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/config"
)

// TokenKey is the key of the token in the server's own Secret.
const TokenKey = "token"

// SecretName is the name of the Secret that the operator keeps for a server: what it generated, and inline values.
func SecretName(server string) string { return server + "-jupyter" }

// values is the spec, without its inline secrets, and the section that the operator adds.
func values(server *v1alpha1.JupyterServer, cfg config.Config, refs References) (map[string]any, error) {
	spec := withoutInlineSecrets(server.Spec.DeepCopy())
	raw, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("converting the spec to values: %w", err)
	}
	vals := map[string]any{}
	if err := utiljson.Unmarshal(raw, &vals); err != nil { // whole numbers stay whole numbers
		return nil, fmt.Errorf("converting the spec to values: %w", err)
	}
	from := make([]any, 0, len(cfg.NetworkPolicy.IngressFrom))
	for i := range cfg.NetworkPolicy.IngressFrom {
		peer, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&cfg.NetworkPolicy.IngressFrom[i])
		if err != nil {
			return nil, fmt.Errorf("converting networkPolicy.ingressFrom to values: %w", err)
		}
		from = append(from, peer)
	}
	vals["operator"] = map[string]any{
		"ingressClassName": cfg.Ingress.ClassName,
		"networkPolicy":    map[string]any{"enabled": cfg.NetworkPolicy.Enabled, "ingressFrom": from},
		"secretsChecksum":  refs.SecretsChecksum,
	}
	return vals, nil
}

// withoutInlineSecrets leaves names and keys only: the chart falls back to the server's own Secret, which holds the
// inline values.
func withoutInlineSecrets(spec *v1alpha1.JupyterServerSpec) *v1alpha1.JupyterServerSpec {
	if spec.Auth.Token != nil && spec.Auth.Token.Value != "" {
		spec.Auth.Token = nil
	}
	if spec.Auth.OIDC != nil && spec.Auth.OIDC.ClientSecret != nil && spec.Auth.OIDC.ClientSecret.Value != "" {
		spec.Auth.OIDC.ClientSecret = nil
	}
	return spec
}
