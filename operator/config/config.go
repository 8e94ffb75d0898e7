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

	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

// Config is what the admin decides about all servers.
type Config struct {
	// Ingress says how servers are reached.
	Ingress Ingress `json:"ingress"`
	// NetworkPolicy says who may reach the pods of servers.
	NetworkPolicy NetworkPolicy `json:"networkPolicy"`
	// Auth says which access modes may be used.
	Auth Auth `json:"auth"`
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
}

// Auth says which access modes may be used.
type Auth struct {
	// AllowNone permits auth.mode none, which lets everybody in.
	AllowNone bool `json:"allowNone"`
}

// Default is the configuration of an operator that is given no file.
func Default() Config {
	return Config{
		Ingress:       Ingress{HTTPPort: 80, HTTPSPort: 443},
		NetworkPolicy: NetworkPolicy{Enabled: true},
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
	)
}

func validatePort(field string, port int) error {
	if port < 1 || port > 65535 {
		return fmt.Errorf("%s: %d is no port, give a number from 1 to 65535", field, port)
	}
	return nil
}
