// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package postrender

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/template"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// Profile is an authentication plugin as data: the container that signs people in at the OpenID provider and tells the proxy
// whether a request has a session, and whose. docs/access-control.md states the contract.
//
// Args, Files, SignOutPath and SessionCookies are templates (text/template) with the fields of PluginData.
type Profile struct {
	// Name identifies the profile in the configuration.
	Name string `json:"name"`
	// Image is the plugin's image. It must run as any user, with a read-only root file system.
	Image string `json:"image"`
	// Command and Args start the plugin. Without a command the image's entry point is used.
	Command []string `json:"command,omitempty"`
	Args    []string `json:"args,omitempty"`
	// Env are environment variables. Secrets are not among them: the plugin reads those from files.
	Env []EnvVar `json:"env,omitempty"`
	// Files are mounted at /etc/authentication under their names.
	Files map[string]string `json:"files,omitempty"`
	// Writable are folders that the plugin may write to.
	Writable []string `json:"writable,omitempty"`
	// Port is the port that the plugin listens on, at 127.0.0.1 only.
	Port int `json:"port"`
	// ReadyPath returns 2xx without a session as soon as the plugin works.
	ReadyPath string `json:"readyPath"`
	// CallbackPrefix is the path, below the server's path, whose requests go to the plugin without a session.
	CallbackPrefix string `json:"callbackPrefix"`
	// SignOutPath, below the server's path, ends the session and redirects to PluginData.SignedOutPath.
	SignOutPath string `json:"signOutPath"`
	// RequestHeaders are the headers of a request that the plugin receives, in addition to X-Forwarded-*.
	RequestHeaders []string `json:"requestHeaders"`
	// Headers are the response headers in which the plugin returns the identity of the session.
	Headers IdentityHeaders `json:"headers"`
	// SessionCookies are the cookies that the plugin may set in any response. The names of all its cookies begin with
	// PluginData.CookieName.
	SessionCookies []string `json:"sessionCookies,omitempty"`
	// Resources are those of the container.
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`
}

// EnvVar is an environment variable.
type EnvVar struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// IdentityHeaders are the names of the headers that hold an identity. All but User may be empty if the plugin does not set them.
type IdentityHeaders struct {
	// User holds the claim sub.
	User string `json:"user"`
	// Email holds the claim email, unless the provider says that it is not verified.
	Email string `json:"email,omitempty"`
	// Groups holds the claim groups, joined by commas.
	Groups string `json:"groups,omitempty"`
	// PreferredUsername holds the claim preferred_username. It is displayed only and never used in a decision.
	PreferredUsername string `json:"preferredUsername,omitempty"`
}

func (h IdentityHeaders) list() []string {
	return slices.DeleteFunc([]string{h.User, h.Email, h.Groups, h.PreferredUsername}, func(name string) bool { return name == "" })
}

// PluginData are the fields that the templates of a profile can use.
type PluginData struct {
	// Server and Namespace name the JupyterServer.
	Server, Namespace string
	// Host is its DNS name. Path is its path without a trailing slash, "" at the root. URL has a trailing slash.
	Host, Path, URL string
	// Secure is true if the URL is https.
	Secure bool
	// RedirectURL is the redirect URI of the OpenID client, URL + CallbackPrefix + "/callback".
	RedirectURL string
	// SignedOutPath is the path of the page that confirms signing out.
	SignedOutPath string
	// IssuerURL, ClientID and Scopes are those of the spec.
	IssuerURL, ClientID string
	Scopes              []string
	// CookieName is the name of the session cookie and the prefix of the names of all other cookies.
	CookieName string
	// CookieSecretFile, ClientSecretFile and CAFile hold the secrets and the certificates. The last two are "" if not
	// configured.
	CookieSecretFile, ClientSecretFile, CAFile string
	// Port is the port of the profile.
	Port int
}

//go:embed profiles/*.yaml
var profileFiles embed.FS

// builtin are the built-in profiles by name, parsed once.
var builtin = sync.OnceValue(func() map[string]Profile {
	profiles := map[string]Profile{}
	entries, err := profileFiles.ReadDir("profiles")
	if err != nil {
		panic(err) // an embedded folder cannot be missing
	}
	for _, entry := range entries {
		raw, err := profileFiles.ReadFile(path.Join("profiles", entry.Name()))
		if err != nil {
			panic(err) // an embedded file cannot be missing
		}
		var profile Profile
		if err := yaml.UnmarshalStrict(raw, &profile); err != nil {
			panic(fmt.Sprintf("built-in profile %s: %v", entry.Name(), err)) // covered by a test
		}
		profiles[profile.Name] = profile
	}
	return profiles
})

// FindProfile returns the profile with a name: one of the given profiles, which is validated, or a built-in one.
func FindProfile(name string, given []Profile) (Profile, error) {
	names := []string{}
	for _, profile := range given {
		if profile.Name != name {
			names = append(names, profile.Name)
			continue
		}
		if err := profile.Validate(); err != nil {
			return Profile{}, fmt.Errorf("profile %s: %w", name, err)
		}
		return profile, nil
	}
	profile, found := builtin()[name]
	if !found {
		return Profile{}, fmt.Errorf("no profile %q; available: %s", name, strings.Join(append(names, slices.Sorted(maps.Keys(builtin()))...), ", "))
	}
	return profile, nil
}

var (
	headerName = regexp.MustCompile(`^[A-Za-z0-9-]+$`) // no underscores: many programs treat them like hyphens
	fileName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	urlPath    = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)
)

// Validate returns an error for the first invalid field, with the way to fix it.
func (p Profile) Validate() error {
	if err := cmp.Or(p.checkFields(), p.checkHeaders(), p.checkPaths()); err != nil {
		return err
	}
	_, err := p.fill(PluginData{Port: p.Port, Scopes: []string{"openid"}})
	return err
}

func (p Profile) checkFields() error {
	switch {
	case p.Name == "":
		return errors.New("name: must not be empty")
	case p.Image == "":
		return errors.New("image: must not be empty: set the image of the plugin")
	case p.Port < 1024 || p.Port > 65535 || slices.Contains([]int{3000, 3001, 8000, 8888}, p.Port):
		return fmt.Errorf("port: %d is not available: use one from 1024 to 65535 other than 3000, 3001, 8000 and 8888", p.Port)
	case !urlPath.MatchString(p.ReadyPath):
		return fmt.Errorf("readyPath: %q is not a path: use one such as /ping", p.ReadyPath)
	case !urlPath.MatchString(p.CallbackPrefix):
		return fmt.Errorf("callbackPrefix: %q is not a path without a trailing slash: use one such as /oauth2", p.CallbackPrefix)
	case !strings.HasPrefix(p.SignOutPath, p.CallbackPrefix+"/"):
		return fmt.Errorf("signOutPath: %q is not below callbackPrefix %s", p.SignOutPath, p.CallbackPrefix)
	}
	return nil
}

func (p Profile) checkHeaders() error {
	switch {
	case p.Headers.User == "":
		return errors.New("headers.user: must not be empty: name the header that holds the claim sub")
	case !slices.Contains(p.RequestHeaders, "Cookie"): // traefik reads an empty list as all headers
		return errors.New("requestHeaders: must contain Cookie, which holds the session")
	}
	for _, name := range append(p.Headers.list(), p.RequestHeaders...) {
		if !headerName.MatchString(name) {
			return fmt.Errorf("headers: %q is not a header name of letters, digits and hyphens", name)
		}
	}
	for _, name := range p.RequestHeaders {
		if slices.ContainsFunc(p.Headers.list(), func(identity string) bool { return strings.EqualFold(identity, name) }) {
			return fmt.Errorf("requestHeaders: %s is also one of headers, so that a client could forge its identity: remove it", name)
		}
	}
	return nil
}

func (p Profile) checkPaths() error {
	for name := range p.Files {
		if !fileName.MatchString(name) || slices.Contains([]string{"traefik.yaml", "routes.yaml"}, name) {
			return fmt.Errorf("files: %q is invalid or reserved: use letters, digits and . _ -, but not traefik.yaml or routes.yaml", name)
		}
	}
	for _, folder := range p.Writable {
		if !path.IsAbs(folder) || path.Clean(folder) != folder || folder == "/" {
			return fmt.Errorf("writable: %q is not the absolute path of a folder", folder)
		}
	}
	return nil
}

// filledProfile holds the executed templates of a profile.
type filledProfile struct {
	Args           []string
	Files          map[string]string
	SignOutPath    string
	SessionCookies []string
}

func (p Profile) fill(data PluginData) (filledProfile, error) {
	out := filledProfile{Files: map[string]string{}}
	var err error
	if out.Args, err = fillAll("args", p.Args, data); err != nil {
		return out, err
	}
	if out.SessionCookies, err = fillAll("sessionCookies", p.SessionCookies, data); err != nil {
		return out, err
	}
	if out.SignOutPath, err = fill("signOutPath", p.SignOutPath, data); err != nil {
		return out, err
	}
	for _, name := range slices.Sorted(maps.Keys(p.Files)) {
		if out.Files[name], err = fill("files."+name, p.Files[name], data); err != nil {
			return out, err
		}
	}
	return out, nil
}

func fillAll(name string, texts []string, data any) ([]string, error) {
	out := make([]string, len(texts))
	for i, text := range texts {
		var err error
		if out[i], err = fill(fmt.Sprintf("%s[%d]", name, i), text, data); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// maxText limits the output of one template, in bytes, against endless loops in an administrator's template.
const maxText = 128 << 10

func fill(name, text string, data any) (string, error) {
	var out limited
	parsed, err := template.New(name).Option("missingkey=error").Funcs(functions).Parse(text)
	if err == nil {
		err = parsed.Execute(&out, data)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %s", name, strings.TrimPrefix(inOneLine(err).Error(), "template: "+name+":"))
	}
	return out.String(), nil
}

// limited is a strings.Builder of at most maxText bytes.
type limited struct{ strings.Builder }

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > maxText {
		return 0, fmt.Errorf("the output is longer than %d KiB: %w", maxText>>10, io.ErrShortWrite)
	}
	return l.Builder.Write(p)
}

// functions are available in all templates. Values of a spec are always quoted by one of them, or they could inject lines.
var functions = template.FuncMap{
	"apache":   quoteApache,
	"has":      slices.Contains[[]string],
	"hostRule": func(host string) string { return "Host(`" + host + "`)" },
	"join":     strings.Join,
	"query":    url.QueryEscape,
	"regexp":   regexp.QuoteMeta,
	"toml":     quoteTOML,
	"yaml":     quoteYAML,
}

// quoteTOML returns a basic string of TOML 1.0, whose escapes are those of JSON.
func quoteTOML(value string) (string, error) {
	text, err := marshal(value)
	return strings.ReplaceAll(string(text), "\x7f", `\u007f`), err
}

// quoteYAML returns a value as JSON, which is YAML, in one line.
func quoteYAML(value any) (string, error) {
	text, err := marshal(value)
	return string(text), err
}

// quoteApache returns an argument of a directive of Apache's httpd. It rejects ${: the configuration expands ${NAME} also in
// quotation marks, and has no escape for it.
func quoteApache(value string) (string, error) {
	if strings.Contains(value, "${") || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", fmt.Errorf("%s cannot be quoted in an Apache configuration", strconv.QuoteToASCII(value))
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`, nil
}
