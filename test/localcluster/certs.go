// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Certificates, keys and kubeconfigs: created once per cluster.

package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// validity exceeds the lifetime of a local cluster.
const validity = 5 * 365 * 24 * time.Hour

// authority signs certificates.
type authority struct {
	name        string
	certificate *x509.Certificate
	key         crypto.Signer
}

// leaf is a certificate to create.
type leaf struct {
	file   string
	user   string
	groups []string
	hosts  []string // of server certificates
}

// user is a user with a kubeconfig.
type user struct {
	name   string
	cn     string
	groups []string
}

// The names are those of the default RBAC policy of the API server and of its Node
// authorizer (plugin/pkg/auth/authorizer in k8s.io/kubernetes).
var users = []user{
	{name: "admin", cn: "localcluster-admin", groups: []string{"system:masters"}},
	{name: "kube-controller-manager", cn: "system:kube-controller-manager"},
	{name: "kube-scheduler", cn: "system:kube-scheduler"},
	{name: "kubelet", cn: "system:node:" + nodeName, groups: []string{"system:nodes"}},
	{name: "kube-proxy", cn: "system:kube-proxy"},
	{name: "provisioner", cn: "localcluster:provisioner"},
}

// makeCertificates creates missing files. The last file written marks all of them
// as complete for this address of the API server.
func (c *cluster) makeCertificates(apiHost string) error {
	done := c.layout.pki("complete")
	if have, err := os.ReadFile(done); err == nil && string(have) == apiHost {
		return nil
	}
	ca, err := c.newAuthority("ca")
	if err != nil {
		return err
	}
	etcdCA, err := c.newAuthority("etcd-ca")
	if err != nil {
		return err
	}
	for _, issue := range []struct {
		by   authority
		leaf leaf
	}{
		{etcdCA, leaf{file: "etcd", user: "etcd", hosts: []string{loopback, "localhost"}}},
		{etcdCA, leaf{file: "etcd-client", user: "kube-apiserver"}},
		{ca, leaf{file: "apiserver", user: "kube-apiserver", hosts: []string{
			apiHost, loopback, "localhost", apiServiceIP,
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		}}},
		{ca, leaf{file: "apiserver-kubelet-client", user: apiserverUser}},
		{ca, leaf{file: "kubelet", user: "system:node:" + nodeName, groups: []string{"system:nodes"}, hosts: []string{nodeIP, nodeName}}},
	} {
		if err := c.makeLeaf(issue.by, issue.leaf); err != nil {
			return err
		}
	}
	if err := c.makeServiceAccountKey(); err != nil {
		return err
	}
	server := "https://" + hostPort(apiHost, apiPort)
	for _, u := range users {
		if err := c.makeKubeconfig(ca, u, server); err != nil {
			return err
		}
	}
	return writeFile(done, []byte(apiHost), 0o600)
}

// apiserverUser is the user of the API server at the kubelet. addons/cluster.yaml
// grants it the permissions for logs, exec and port-forward.
const apiserverUser = "localcluster:kube-apiserver"

// newAuthority reads the authority of an earlier run or creates a new one.
func (c *cluster) newAuthority(name string) (authority, error) {
	a, err := c.readAuthority(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return a, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, fmt.Errorf("create the key of %s: %w", name, err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "localcluster-" + name},
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().Add(validity),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, fmt.Errorf("create the certificate of %s: %w", name, err)
	}
	if err := c.writePair(name, der, key); err != nil {
		return authority{}, err
	}
	return c.readAuthority(name)
}

func (c *cluster) readAuthority(name string) (authority, error) {
	certificate, err := os.ReadFile(c.layout.pki(name + ".crt"))
	if err != nil {
		return authority{}, fmt.Errorf("read the certificate of %s: %w", name, err)
	}
	key, err := os.ReadFile(c.layout.pki(name + ".key"))
	if err != nil {
		return authority{}, fmt.Errorf("read the key of %s: %w", name, err)
	}
	certificateBlock, _ := pem.Decode(certificate)
	keyBlock, _ := pem.Decode(key)
	if certificateBlock == nil || keyBlock == nil {
		return authority{}, fmt.Errorf("read %s: not PEM", name)
	}
	a := authority{name: name}
	if a.certificate, err = x509.ParseCertificate(certificateBlock.Bytes); err != nil {
		return authority{}, fmt.Errorf("read the certificate of %s: %w", name, err)
	}
	if a.key, err = x509.ParseECPrivateKey(keyBlock.Bytes); err != nil {
		return authority{}, fmt.Errorf("read the key of %s: %w", name, err)
	}
	return a, nil
}

func (a authority) sign(l leaf) ([]byte, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("create a key for %s: %w", l.user, err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, fmt.Errorf("create a serial number for %s: %w", l.user, err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: l.user, Organization: l.groups},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(validity),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, host := range l.hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	if len(l.hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("sign the certificate of %s: %w", l.user, err)
	}
	return der, key, nil
}

func (c *cluster) makeLeaf(by authority, l leaf) error {
	der, key, err := by.sign(l)
	if err != nil {
		return err
	}
	return c.writePair(l.file, der, key)
}

func (c *cluster) writePair(name string, der []byte, key *ecdsa.PrivateKey) error {
	keyPEM, err := encodeKey(key)
	if err != nil {
		return err
	}
	// The certificate is written last, so that the pair is complete if it exists.
	if err := writeFile(c.layout.pki(name+".key"), keyPEM, 0o600); err != nil {
		return fmt.Errorf("write the key of %s: %w", name, err)
	}
	if err := writeFile(c.layout.pki(name+".crt"), encodeCertificate(der), 0o644); err != nil {
		return fmt.Errorf("write the certificate of %s: %w", name, err)
	}
	return nil
}

// makeServiceAccountKey keeps the key of an earlier run, so that tokens in pods
// stay valid.
func (c *cluster) makeServiceAccountKey() error {
	private, public := c.layout.pki("service-account.key"), c.layout.pki("service-account.pub")
	if _, err := os.Stat(public); err == nil {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("create the service account key: %w", err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("encode the service account key: %w", err)
	}
	if err := writeFile(private, keyPEM, 0o600); err != nil {
		return fmt.Errorf("write the service account key: %w", err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	if err := writeFile(public, publicPEM, 0o644); err != nil {
		return fmt.Errorf("write the service account key: %w", err)
	}
	return nil
}

func (c *cluster) makeKubeconfig(ca authority, u user, server string) error {
	der, key, err := ca.sign(leaf{user: u.cn, groups: u.groups})
	if err != nil {
		return err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters[nodeName] = &clientcmdapi.Cluster{
		Server:                   server,
		CertificateAuthorityData: encodeCertificate(ca.certificate.Raw),
	}
	config.AuthInfos[u.name] = &clientcmdapi.AuthInfo{
		ClientCertificateData: encodeCertificate(der),
		ClientKeyData:         keyPEM,
	}
	config.Contexts[nodeName] = &clientcmdapi.Context{Cluster: nodeName, AuthInfo: u.name}
	config.CurrentContext = nodeName
	content, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("encode the kubeconfig of %s: %w", u.name, err)
	}
	path := c.layout.kubeconfigOf(u.name)
	if u.name == "admin" {
		path = c.layout.kubeconfig()
	}
	if err := writeFile(path, content, 0o600); err != nil {
		return fmt.Errorf("write the kubeconfig of %s: %w", u.name, err)
	}
	return nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
