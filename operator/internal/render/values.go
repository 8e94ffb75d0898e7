// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
	"github.com/jupyterserver/jupyter-server-operator/operator/internal/config"
	"github.com/jupyterserver/jupyter-server-operator/postrender"
)

// Keys of the Secret that the operator keeps for a server.
const (
	// TokenKey is the key of Jupyter's token (auth.mode token).
	TokenKey = "token"
	// CookieSecretKey is the key of the secret with which the authentication plugin encrypts its cookies (auth.mode oidc).
	CookieSecretKey = "cookie-secret"
	// ClientSecretKey is the key of an inline auth.oidc.clientSecret.
	ClientSecretKey = "client-secret"
)

// operatorKey is the section of the values that is not part of the spec.
const operatorKey = "operator"

// SecretName returns the name of the Secret that the operator keeps for a server, with generated secrets and inline values.
func SecretName(server string) string { return server + secretSuffix }

const secretSuffix = "-jupyter"

// OfSecret returns the server whose Secret has this name, or an empty string if there can be none.
func OfSecret(name string) string {
	server, ok := strings.CutSuffix(name, secretSuffix)
	if !ok {
		return ""
	}
	return server
}

// values returns the spec without its inline secrets, plus the section that the operator adds.
func values(server *v1alpha1.JupyterServer, cfg config.Config, refs References) (map[string]any, error) {
	spec := server.Spec.DeepCopy()
	replaceInlineSecrets(server.Name, spec)
	spec.Release = nil // no object is rendered from it, so a change must not create a new revision
	vals, err := plain(spec)
	if err != nil {
		return nil, fmt.Errorf("converting the spec to values: %w", err)
	}
	operator, err := plain(operatorValues{
		IngressClassName: cfg.Ingress.ClassName,
		HTTPPort:         cfg.Ingress.HTTPPort,
		HTTPSPort:        cfg.Ingress.HTTPSPort,
		NetworkPolicy:    networkPolicyValues{cfg.NetworkPolicy.Enabled, cfg.NetworkPolicy.IngressFrom},
		Access:           accessOf(cfg),
		SecretsChecksum:  refs.SecretsChecksum,
	})
	if err != nil {
		return nil, fmt.Errorf("converting the configuration to values: %w", err)
	}
	if server.Spec.Auth.Mode != v1alpha1.AuthModeOIDC {
		delete(operator, "access") // otherwise changing it would change all servers
	}
	vals[operatorKey] = operator
	return vals, nil
}

// operatorValues is the section "operator" of the chart's values.
type operatorValues struct {
	IngressClassName string              `json:"ingressClassName"`
	HTTPPort         int                 `json:"httpPort"`
	HTTPSPort        int                 `json:"httpsPort"`
	NetworkPolicy    networkPolicyValues `json:"networkPolicy"`
	Access           accessValues        `json:"access"`
	SecretsChecksum  string              `json:"secretsChecksum"`
}

type networkPolicyValues struct {
	Enabled     bool                             `json:"enabled"`
	IngressFrom []networkingv1.NetworkPolicyPeer `json:"ingressFrom,omitempty"`
}

type accessValues struct {
	config.Access `json:",inline"`
	OperatorFrom  []networkingv1.NetworkPolicyPeer `json:"operatorFrom,omitempty"`
}

// accessOf keeps only the profile in use, so that changing another one does not change the server.
func accessOf(cfg config.Config) accessValues {
	used := cfg.Access
	used.Profiles = slices.DeleteFunc(slices.Clone(used.Profiles), func(p postrender.Profile) bool { return p.Name != used.Profile })
	return accessValues{used, cfg.NetworkPolicy.OperatorFrom}
}

// plain converts a value to maps and slices. Integers remain integers.
func plain(value any) (map[string]any, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	err = utiljson.Unmarshal(raw, &out)
	return out, err
}

// replaceInlineSecrets replaces inline values by references to the server's own Secret, which contains them.
func replaceInlineSecrets(server string, spec *v1alpha1.JupyterServerSpec) {
	if spec.Auth.Token != nil && spec.Auth.Token.Value != "" {
		spec.Auth.Token = nil // the chart's default is that Secret
	}
	if spec.Auth.OIDC != nil && spec.Auth.OIDC.ClientSecret != nil && spec.Auth.OIDC.ClientSecret.Value != "" {
		own := &v1alpha1.KeyRef{Name: SecretName(server), Key: ClientSecretKey}
		spec.Auth.OIDC.ClientSecret = &v1alpha1.SecretValue{SecretKeyRef: own}
	}
}
