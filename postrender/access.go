// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package postrender

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

const accessProxyKind = "AccessProxy"

// accessProxy is the spec of an AccessProxy object: the access control of a server with auth.mode oidc.
type accessProxy struct {
	Host string `json:"host"`
	Path string `json:"path"`
	URL  string `json:"url"`
	OIDC struct {
		IssuerURL string         `json:"issuerUrl"`
		ClientID  string         `json:"clientId"`
		Scopes    []string       `json:"scopes"`
		Allow     v1alpha1.Allow `json:"allow"`
	} `json:"oidc"`
	CookieSecret       v1alpha1.KeyRef  `json:"cookieSecret"`
	ClientSecret       *v1alpha1.KeyRef `json:"clientSecret"` // nil: a public client
	CABundle           *v1alpha1.KeyRef `json:"caBundle"`
	ProxyImage         string           `json:"proxyImage"`
	AuthorizationImage string           `json:"authorizationImage"`
	ImagePullPolicy    string           `json:"imagePullPolicy"`
	Profile            string           `json:"profile"`
	Profiles           []Profile        `json:"profiles"`
	OperatorFrom       []any            `json:"operatorFrom"`
}

// access is an accessProxy with everything derived from it.
type access struct {
	accessProxy

	server, namespace string
	profile           Profile
	plugin            filledProfile
	data              PluginData
}

// protect is the step that removes the AccessProxy object and puts the access control in front of Jupyter.
func protect(documents []*document) ([]*document, error) {
	found, documents, err := takeOne(documents, accessProxyKind)
	if found == nil || err != nil {
		return documents, err
	}
	a, err := readAccess(found)
	if err != nil {
		return nil, fmt.Errorf("document %d of the manifest, an AccessProxy object: %w", found.number, err)
	}
	files, err := a.proxyFiles()
	if err != nil {
		return nil, err
	}
	for _, target := range []struct {
		kind     string
		edit     func(*document) error
		required bool
	}{
		{"StatefulSet", func(d *document) error { return a.addToPod(d, files) }, true},
		{"Service", a.pointService, true},
		{"NetworkPolicy", a.openPolicy, false},
	} {
		if err := editOne(documents, target.kind, a.server, target.required, target.edit); err != nil {
			return nil, err
		}
	}
	return a.addConfigMaps(documents, files)
}

// takeOne returns the only object of a kind of ourAPIVersion, or nil, and the documents without it.
func takeOne(documents []*document, kind string) (*document, []*document, error) {
	var found *document
	var others []*document
	for _, d := range documents {
		if d.apiVersion() != ourAPIVersion || d.kind() != kind {
			others = append(others, d)
			continue
		}
		if found != nil {
			return nil, nil, fmt.Errorf("documents %d and %d of the manifest are both %s objects: only one is allowed", found.number, d.number, kind)
		}
		found = d
	}
	if found == nil {
		return nil, documents, nil
	}
	return found, others, nil
}

// editOne edits the object of a kind that has the server's name.
func editOne(documents []*document, kind, name string, required bool, edit func(*document) error) error {
	matched := match(documents, v1alpha1.PatchTarget{Kind: kind, Name: name})
	if len(matched) == 0 && !required {
		return nil
	}
	if len(matched) != 1 {
		return fmt.Errorf("AccessProxy %s: found %d objects of kind %s with this name, want exactly 1", name, len(matched), kind)
	}
	if err := edit(matched[0]); err != nil {
		return fmt.Errorf("adding the access control to %s %s: %w", kind, name, err)
	}
	return nil
}

func readAccess(d *document) (access, error) {
	var object struct {
		APIVersion string      `json:"apiVersion"`
		Kind       string      `json:"kind"`
		Metadata   any         `json:"metadata"`
		Spec       accessProxy `json:"spec"`
	}
	text, err := toJSONStrict(d.body())
	if err == nil {
		err = unmarshalStrict(text, &object)
	}
	if err != nil {
		return access{}, err
	}
	a := access{accessProxy: object.Spec, server: d.name(), namespace: d.field("metadata", "namespace")}
	if err := a.check(); err != nil {
		return access{}, err
	}
	if a.profile, err = FindProfile(a.Profile, a.Profiles); err != nil {
		return access{}, fmt.Errorf("spec.profile: %w", err)
	}
	a.data = a.pluginData()
	if a.plugin, err = a.profile.fill(a.data); err != nil {
		return access{}, fmt.Errorf("profile %s: %w", a.profile.Name, err)
	}
	return a, nil
}

// check validates values that were written by hand. The CRD's rules guarantee all of this for the operator.
func (a access) check() error {
	for field, value := range map[string]string{
		"metadata.name": a.server, "spec.host": a.Host, "spec.url": a.URL, "spec.oidc.issuerUrl": a.OIDC.IssuerURL, "spec.oidc.clientId": a.OIDC.ClientID,
		"spec.cookieSecret.name": a.CookieSecret.Name, "spec.cookieSecret.key": a.CookieSecret.Key,
		"spec.proxyImage": a.ProxyImage, "spec.authorizationImage": a.AuthorizationImage, "spec.profile": a.Profile,
	} {
		if value == "" {
			return fmt.Errorf("%s is missing", field)
		}
	}
	if a.Path != "/" && !urlPath.MatchString(a.Path) {
		return fmt.Errorf("spec.path is %q, but must be / or a path without a trailing slash, such as /alice", a.Path)
	}
	if strings.ContainsAny(a.Host, "`\"' \t\r\n") {
		return fmt.Errorf("spec.host is %q, but must be a DNS name", a.Host)
	}
	if address, err := url.Parse(a.URL); err != nil || address.Scheme != "http" && address.Scheme != "https" || !strings.HasSuffix(a.URL, "/") {
		return fmt.Errorf("spec.url is %q, but must be a URL with a trailing slash", a.URL)
	}
	allow := a.OIDC.Allow
	if !allow.AnyAuthenticated && len(allow.Users)+len(allow.Emails)+len(allow.Groups) == 0 {
		return errors.New("spec.oidc.allow is empty: set users, emails or groups, or anyAuthenticated to true")
	}
	return nil
}

// Mount paths of the plugin's secrets and certificates: templates/pod.yaml.
const (
	cookieSecretFile = "/etc/authentication-secrets/cookie-secret"
	clientSecretFile = "/etc/authentication-secrets/client-secret"
	pluginCAFile     = "/etc/authentication-ca/ca.crt"
)

func (a access) pluginData() PluginData {
	prefix := strings.TrimSuffix(a.Path, "/")
	data := PluginData{
		Server: a.server, Namespace: a.namespace,
		Host: a.Host, Path: prefix, URL: a.URL, Secure: strings.HasPrefix(a.URL, "https:"),
		RedirectURL:   strings.TrimSuffix(a.URL, "/") + a.profile.CallbackPrefix + "/callback",
		SignedOutPath: prefix + a.profile.CallbackPrefix + "/signed-out",
		IssuerURL:     a.OIDC.IssuerURL, ClientID: a.OIDC.ClientID, Scopes: a.OIDC.Scopes,
		CookieSecretFile: cookieSecretFile,
		Port:             a.profile.Port,
	}
	data.CookieName = cookieName(a.namespace, a.server, data.Secure)
	if a.ClientSecret != nil {
		data.ClientSecretFile = clientSecretFile
	}
	if a.CABundle != nil {
		data.CAFile = pluginCAFile
	}
	return data
}

// cookieName is unique per server, so that servers on one host do not overwrite each other's sessions. The prefix __Secure-
// makes browsers reject the cookie from a page without TLS (RFC 6265bis, section 4.1.3.1), so it needs TLS.
func cookieName(namespace, server string, secure bool) string {
	sum := sha256.Sum256([]byte(namespace + "/" + server))
	name := "js-" + hex.EncodeToString(sum[:8])
	if secure {
		return "__Secure-" + name
	}
	return name
}

// identityHeaders returns the headers of the profile. Without the scope email there is none for the email, whatever the plugin
// sends in its place.
func (a access) identityHeaders() IdentityHeaders {
	headers := a.profile.Headers
	if !slices.Contains(a.OIDC.Scopes, "email") {
		headers.Email = ""
	}
	return headers
}

// rules is the configuration of the authorization service (authorization/config.go), which must not share types with this
// package.
type rules struct {
	Server   string          `json:"server"`
	Home     string          `json:"home"`
	SignOut  string          `json:"signOut"`
	Headers  IdentityHeaders `json:"headers"`
	Allow    v1alpha1.Allow  `json:"allow"`
	Chain    chain           `json:"chain"`
	Provider provider        `json:"provider"`
}

type chain struct {
	Proxy          link `json:"proxy"`
	Authentication link `json:"authentication"`
	Jupyter        link `json:"jupyter"`
}

type link struct {
	URL  string `json:"url"`
	Host string `json:"host,omitempty"`
}

type provider struct {
	Issuer           string   `json:"issuer"`
	ClientID         string   `json:"clientId"`
	ClientSecretFile string   `json:"clientSecretFile"`
	RedirectURL      string   `json:"redirectUrl"`
	Scopes           []string `json:"scopes"`
	CAFile           string   `json:"caFile"`
	Report           string   `json:"report"`
}

func (a access) rules() ([]byte, error) {
	local := func(port int, path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", port, path) }
	r := rules{
		Server:  a.server,
		Home:    a.data.Path + "/",
		SignOut: a.signOutLocation(),
		Headers: a.identityHeaders(),
		Allow:   a.OIDC.Allow,
		Chain: chain{
			Proxy:          link{local(8000, a.data.Path+"/api/status"), a.Host},
			Authentication: link{local(a.profile.Port, a.profile.ReadyPath), ""},
			Jupyter:        link{local(8888, a.data.Path+"/api"), "localhost"},
		},
		Provider: provider{
			Issuer: a.OIDC.IssuerURL, ClientID: a.OIDC.ClientID, RedirectURL: a.data.RedirectURL, Scopes: a.OIDC.Scopes,
			Report: "/run/access/provider.json",
		},
	}
	if a.ClientSecret != nil {
		r.Provider.ClientSecretFile = "/etc/access-client/client-secret"
	}
	if a.CABundle != nil {
		r.Provider.CAFile = "/etc/access-ca/ca.crt"
	}
	return json.MarshalIndent(r, "", "  ")
}

// signOutLocation returns the path that starts signing out, from the root of the host.
func (a access) signOutLocation() string { return a.data.Path + a.plugin.SignOutPath }

// files is the data of the ConfigMap that the proxy and the plugin read.
type files map[string]string

// digest changes with any key or value.
func (f files) digest() string {
	sum := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(f)) {
		fmt.Fprintf(sum, "%s %d\n%s", key, len(f[key]), f[key])
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

func (a access) proxyFiles() (files, error) {
	out := files{}
	maps.Copy(out, a.plugin.Files)
	routes := routesData{
		Host: a.Host, Path: a.data.Path,
		SignedOutPath: a.data.SignedOutPath, SignOutLocation: a.signOutLocation(),
		CallbackPath:                 a.data.Path + a.profile.CallbackPrefix,
		Profile:                      a.profile,
		SessionCookies:               a.plugin.SessionCookies,
		IdentityHeaders:              a.profile.Headers.list(),
		AuthorizationRequestHeaders:  append(a.identityHeaders().list(), "Cookie", "Accept"),
		AuthorizationResponseHeaders: append(a.profile.Headers.list(), "Cookie"),
	}
	for name, data := range map[string]any{"traefik.yaml": nil, "routes.yaml": routes} {
		text, err := fillTemplate(name, data)
		if err != nil {
			return nil, err
		}
		out[name] = text
	}
	return out, nil
}

type routesData struct {
	Host, Path, SignedOutPath, SignOutLocation, CallbackPath                   string
	Profile                                                                    Profile
	SessionCookies                                                             []string
	IdentityHeaders, AuthorizationRequestHeaders, AuthorizationResponseHeaders []string
}
