// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package config holds the admin's settings of the operator: the file that `--config` names, and that the operator's
// chart renders from its values.
//
// What may live here: settings, their defaults and their checks. Settings of the process (addresses, namespaces,
// concurrency) are flags of the command instead.
package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/jupyterserver/jupyter-server-operator/policies"
	"github.com/jupyterserver/jupyter-server-operator/postrender"
)

// Config is what the admin decides about all servers.
type Config struct {
	// Ingress says how servers are reached.
	Ingress Ingress `json:"ingress"`
	// NetworkPolicy says who may reach the pods of servers.
	NetworkPolicy NetworkPolicy `json:"networkPolicy"`
	// Access says what stands in front of servers with auth.mode oidc.
	Access Access `json:"access"`
	// Release says how servers are upgraded.
	Release Release `json:"release"`
	// Policies are the settings of the rules about servers (docs/policies.md).
	Policies policies.Config `json:"policies"`
}

// Ingress says how servers are reached.
type Ingress struct {
	// ClassName is the ingress class of servers that name none. Empty: the cluster's default class.
	ClassName string `json:"className"`
	// HTTPPort and HTTPSPort are the ports that browsers use, where the ingress controller is not on 80 and 443 (a node
	// port, a port on localhost). They show in the URL of a server only.
	HTTPPort  int `json:"httpPort"`
	HTTPSPort int `json:"httpsPort"`
}

// NetworkPolicy says who may reach the pods of servers.
type NetworkPolicy struct {
	// Enabled makes a NetworkPolicy for every server.
	Enabled bool `json:"enabled"`
	// IngressFrom are the peers that may reach the port of a server: the pods of the ingress controller. Empty: everybody.
	IngressFrom []networkingv1.NetworkPolicyPeer `json:"ingressFrom"`
	// OperatorFrom are the peers that may ask whether the access control of a server works: the pod of the operator. Empty:
	// nobody but the node.
	OperatorFrom []networkingv1.NetworkPolicyPeer `json:"operatorFrom"`
}

// Access says what stands in front of servers with auth.mode oidc (docs/access-control.md).
type Access struct {
	// ProxyImage is the image of traefik, 3.6.24, 3.7.9 or newer.
	ProxyImage string `json:"proxyImage"`
	// AuthorizationImage is the image of the operator, which holds the authorization service.
	AuthorizationImage string `json:"authorizationImage"`
	// ImagePullPolicy is that of all sidecars.
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy"`
	// Profile is the authentication plugin: a built-in profile, or one of Profiles.
	Profile string `json:"profile"`
	// Profiles are more authentication plugins. One may have the name of a built-in profile, and then replaces it.
	Profiles []postrender.Profile `json:"profiles,omitempty"`
}

// Release says how servers are upgraded.
type Release struct {
	// RestartRunning upgrades running servers at once when a new version or configuration of the operator makes another pod of
	// the same spec. Without it they are upgraded when they stop.
	RestartRunning bool `json:"restartRunning"`
	// RollbackOnFailure is what holds for servers that do not set spec.release.rollbackOnFailure.
	RollbackOnFailure bool `json:"rollbackOnFailure"`
	// RollbackAfter is how long a new revision must have been failing before it is taken back.
	RollbackAfter metav1.Duration `json:"rollbackAfter"`
}

// Default is the configuration of an operator that is given no file.
func Default() Config {
	return Config{
		Ingress:       Ingress{HTTPPort: 80, HTTPSPort: 443},
		NetworkPolicy: NetworkPolicy{Enabled: true},
		Access: Access{
			ProxyImage:         "docker.io/library/traefik:v3.7.9",
			AuthorizationImage: "jupyter-server-operator:0.1.0",
			ImagePullPolicy:    corev1.PullIfNotPresent,
			Profile:            "oauth2-proxy",
		},
		Release:  Release{RollbackAfter: metav1.Duration{Duration: time.Minute}},
		Policies: policies.Default(),
	}
}

// Load reads a configuration file. An empty path gives the default. A field that is not known is an error, so that a
// misspelt setting does not go unnoticed.
func Load(path string) (Config, error) {
	if path == "" {
		return Default(), nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("reading the configuration: %w", err)
	}
	c, err := Parse(raw)
	if err != nil {
		return Config{}, fmt.Errorf("reading the configuration %s: %w", path, err)
	}
	return c, nil
}

// Parse reads a configuration from YAML, over the defaults.
func Parse(raw []byte) (Config, error) {
	c := Default()
	if err := yaml.UnmarshalStrict(raw, &c); err != nil {
		return Config{}, err
	}
	return c, c.validate()
}

func (c Config) validate() error {
	return errors.Join(
		validatePort("ingress.httpPort", c.Ingress.HTTPPort),
		validatePort("ingress.httpsPort", c.Ingress.HTTPSPort),
		c.Access.validate(),
		c.Release.validate(),
		c.validatePolicies(),
	)
}

func (c Config) validatePolicies() error {
	if err := c.Policies.Validate(); err != nil {
		return fmt.Errorf("policies: %w", err)
	}
	return nil
}

func (a Access) validate() error {
	pullPolicies := []corev1.PullPolicy{corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever}
	if a.ProxyImage == "" {
		return errors.New("access.proxyImage: is empty, give an image of traefik")
	}
	if a.AuthorizationImage == "" {
		return errors.New("access.authorizationImage: is empty, give the image of the operator")
	}
	if !slices.Contains(pullPolicies, a.ImagePullPolicy) {
		return fmt.Errorf("access.imagePullPolicy: %q is none of Always, IfNotPresent and Never", a.ImagePullPolicy)
	}
	for i, profile := range a.Profiles {
		if err := profile.Validate(); err != nil {
			return fmt.Errorf("access.profiles[%d]: %w", i, err)
		}
	}
	if _, err := postrender.FindProfile(a.Profile, a.Profiles); err != nil {
		return fmt.Errorf("access.profile: %w", err)
	}
	return nil
}

func (r Release) validate() error {
	if r.RollbackAfter.Duration < 0 {
		return fmt.Errorf("release.rollbackAfter: %s is negative, give a time such as 1m", r.RollbackAfter.Duration)
	}
	return nil
}

func validatePort(field string, port int) error {
	if port < 1 || port > 65535 {
		return fmt.Errorf("%s: %d is no port, give a number from 1 to 65535", field, port)
	}
	return nil
}
