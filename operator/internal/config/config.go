// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package config contains the operator's configuration file, which `--config` names and the operator's chart renders from its
// values: the settings, their defaults and their validation.
//
// Settings of the process (addresses, namespaces, concurrency) are flags of the command instead.
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

// Config contains the settings for all servers.
type Config struct {
	// Ingress configures the URLs of servers.
	Ingress Ingress `json:"ingress"`
	// NetworkPolicy controls which peers can connect to the pods of servers.
	NetworkPolicy NetworkPolicy `json:"networkPolicy"`
	// Access configures the sidecars that protect servers with auth.mode oidc.
	Access Access `json:"access"`
	// Release controls how servers are upgraded.
	Release Release `json:"release"`
	// Policies are the settings of the rules about servers (docs/policies.md).
	Policies policies.Config `json:"policies"`
}

// Ingress configures the URLs of servers.
type Ingress struct {
	// ClassName is the ingress class of servers that do not set one. If empty, it is the cluster's default class.
	ClassName string `json:"className"`
	// HTTPPort and HTTPSPort are the ports that browsers use, if the ingress controller is not on 80 and 443 (a node port, a
	// port on localhost). They appear only in the URL of a server.
	HTTPPort  int `json:"httpPort"`
	HTTPSPort int `json:"httpsPort"`
}

// NetworkPolicy controls which peers can connect to the pods of servers.
type NetworkPolicy struct {
	// Enabled creates a NetworkPolicy for every server.
	Enabled bool `json:"enabled"`
	// IngressFrom are the peers that can connect to the port of a server: the pods of the ingress controller. If empty, all can.
	IngressFrom []networkingv1.NetworkPolicyPeer `json:"ingressFrom"`
	// OperatorFrom are the peers that can check the access control of a server: the pod of the operator. If empty, only the node
	// can.
	OperatorFrom []networkingv1.NetworkPolicyPeer `json:"operatorFrom"`
}

// Access configures the sidecars that protect servers with auth.mode oidc (docs/access-control.md).
type Access struct {
	// ProxyImage is the traefik image, of version 3.6.24, 3.7.9 or newer.
	ProxyImage string `json:"proxyImage"`
	// AuthorizationImage is the image of the operator, which contains the authorization service.
	AuthorizationImage string `json:"authorizationImage"`
	// ImagePullPolicy is the pull policy of all sidecars.
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy"`
	// Profile is the authentication plugin: a built-in profile, or one of Profiles.
	Profile string `json:"profile"`
	// Profiles are additional authentication plugins. A profile with the name of a built-in one replaces it.
	Profiles []postrender.Profile `json:"profiles,omitempty"`
}

// Release controls how servers are upgraded.
type Release struct {
	// RestartRunning restarts running servers immediately if a new version or configuration of the operator changes their pods.
	// By default the change is applied when they stop.
	RestartRunning bool `json:"restartRunning"`
	// RollbackOnFailure is the default of spec.release.rollbackOnFailure.
	RollbackOnFailure bool `json:"rollbackOnFailure"`
	// RollbackAfter is how long a new revision must have been failing before it is rolled back.
	RollbackAfter metav1.Duration `json:"rollbackAfter"`
}

// Default returns the configuration of an operator without a configuration file.
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

// Load reads a configuration file. An empty path returns the defaults. An unknown field is an error, so that a misspelled
// setting does not go unnoticed.
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

// Parse reads a configuration from YAML on top of the defaults.
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
		return errors.New("access.proxyImage is empty: set it to a traefik image")
	}
	if a.AuthorizationImage == "" {
		return errors.New("access.authorizationImage is empty: set it to the image of the operator")
	}
	if !slices.Contains(pullPolicies, a.ImagePullPolicy) {
		return fmt.Errorf("access.imagePullPolicy: %q is not one of Always, IfNotPresent and Never", a.ImagePullPolicy)
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
		return fmt.Errorf("release.rollbackAfter: %s is negative: use a duration such as 1m", r.RollbackAfter.Duration)
	}
	return nil
}

func validatePort(field string, port int) error {
	if port < 1 || port > 65535 {
		return fmt.Errorf("%s: %d is not a port: use a number from 1 to 65535", field, port)
	}
	return nil
}
