// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package postrender

import (
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

// Profile is an authentication plugin as data: the container that asks people to sign in at the OpenID provider, and answers
// the proxy's question whether a request comes with a session, and whose. docs/access-control.md states the contract.
//
// Args, Files, SignOutPath and SessionCookies are templates (text/template) with the fields of PluginData.
type Profile struct {
	// Name is what the configuration calls it by.
	Name string `json:"name"`
	// Image holds the plugin. It must run as any user, with a read-only root file system.
	Image string `json:"image"`
	// Command and Args start it; without a command that of the image does.
	Command []string `json:"command,omitempty"`
	Args    []string `json:"args,omitempty"`
	// Env are environment variables. No secrets: the plugin finds these in files.
	Env []EnvVar `json:"env,omitempty"`
	// Files are mounted at /etc/authentication, by their names.
	Files map[string]string `json:"files,omitempty"`
	// Writable are folders that the plugin may write to.
	Writable []string `json:"writable,omitempty"`
	// Port is where it listens, on 127.0.0.1 alone.
	Port int `json:"port"`
	// ReadyPath answers 2xx without a session as soon as the plugin works.
	ReadyPath string `json:"readyPath"`
	// CallbackPrefix is the path, below that of the server, under which everything goes to the plugin without a session.
	CallbackPrefix string `json:"callbackPrefix"`
	// SignOutPath, below the path of the server, ends the session and leads to PluginData.SignedOutPath.
	SignOutPath string `json:"signOutPath"`
	// RequestHeaders are what it is given of a request, beside X-Forwarded-*.
	RequestHeaders []string `json:"requestHeaders"`
	// Headers are the names of the headers in which it answers whose session it is.
	Headers IdentityHeaders `json:"headers"`
	// SessionCookies are the cookies that it may set with any answer. The names of all its cookies begin with
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

// IdentityHeaders are the names of the headers that say who somebody is. All but User may be empty: the plugin does not tell.
type IdentityHeaders struct {
	// User holds the claim sub.
	User string `json:"user"`
	// Email holds the claim email, unless the provider says that it is not verified.
	Email string `json:"email,omitempty"`
	// Groups holds the claim groups, joined by commas.
	Groups string `json:"groups,omitempty"`
	// PreferredUsername holds the claim preferred_username. It is for people, and decides nothing.
	PreferredUsername string `json:"preferredUsername,omitempty"`
}

func (h IdentityHeaders) list() []string {
	return slices.DeleteFunc([]string{h.User, h.Email, h.Groups, h.PreferredUsername}, func(name string) bool { return name == "" })
}

// PluginData is what the templates of a profile know.
type PluginData struct {
	// Server and Namespace name the JupyterServer.
	Server, Namespace string
	// Host is its DNS name. Path is its path without a slash at the end, "" at the root. URL has one.
	Host, Path, URL string
	// Secure says that the URL is https.
	Secure bool
	// RedirectURL is where the provider sends people back to, URL + CallbackPrefix + "/callback".
	RedirectURL string
	// SignedOutPath is the path of the page that tells people that they are signed out.
	SignedOutPath string
	// IssuerURL, ClientID and Scopes are those of the spec.
	IssuerURL, ClientID string
	Scopes              []string
	// CookieName is the name of the session's cookie, and what the names of all other cookies begin with.
	CookieName string
	// CookieSecretFile, ClientSecretFile and CAFile hold the secrets and the certificates. The last two are "" where there
	// are none.
	CookieSecretFile, ClientSecretFile, CAFile string
	// Port is the profile's.
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
			panic(err) // nor a file of it
		}
		var profile Profile
		if err := yaml.UnmarshalStrict(raw, &profile); err != nil {
			panic(fmt.Sprintf("the built-in profile %s: %v", entry.Name(), err)) // the tests read it, too
		}
		profiles[profile.Name] = profile
	}
	return profiles
})

// FindProfile returns the profile of a name: one of those that are given, which is checked, or a built-in one.
func FindProfile(name string, given []Profile) (Profile, error) {
	names := []string{}
	for _, profile := range given {
		if profile.Name != name {
			names = append(names, profile.Name)
			continue
		}
		if err := profile.Validate(); err != nil {
			return Profile{}, fmt.Errorf("the profile %s: %w", name, err)
		}
		return profile, nil
	}
	profile, found := builtin()[name]
	if !found {
		return Profile{}, fmt.Errorf("there is no profile %q; there are: %s", name, strings.Join(append(names, slices.Sorted(maps.Keys(builtin()))...), ", "))
	}
	return profile, nil
}

var (
	headerName = regexp.MustCompile(`^[A-Za-z0-9-]+$`) // no underscores: to many programs they are the same as hyphens
	fileName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	urlPath    = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)
)

// Validate names the first field that cannot work, and what to do.
func (p Profile) Validate() error {
	switch {
	case p.Name == "":
		return errors.New("name: is empty, give the profile a name")
	case p.Image == "":
		return errors.New("image: is empty, give the image of the plugin")
	case p.Port < 1024 || p.Port > 65535 || slices.Contains([]int{3000, 3001, 8000, 8888}, p.Port):
		return fmt.Errorf("port: %d is not free, give one from 1024 to 65535 other than 3000, 3001, 8000 and 8888", p.Port)
	case !urlPath.MatchString(p.ReadyPath):
		return fmt.Errorf("readyPath: %q is no path, give one such as /ping", p.ReadyPath)
	case !urlPath.MatchString(p.CallbackPrefix):
		return fmt.Errorf("callbackPrefix: %q is no path without a slash at the end, give one such as /oauth2", p.CallbackPrefix)
	case !strings.HasPrefix(p.SignOutPath, p.CallbackPrefix+"/"):
		return fmt.Errorf("signOutPath: %q is not below callbackPrefix %s", p.SignOutPath, p.CallbackPrefix)
	case p.Headers.User == "":
		return errors.New("headers.user: is empty, name the header that holds the claim sub")
	case !slices.Contains(p.RequestHeaders, "Cookie"): // to traefik, an empty list means all headers
		return errors.New("requestHeaders: lacks Cookie, without which there is no session")
	}
	for _, name := range append(p.Headers.list(), p.RequestHeaders...) {
		if !headerName.MatchString(name) {
			return fmt.Errorf("headers: %q is no name of a header with letters, digits and hyphens", name)
		}
	}
	for _, name := range p.RequestHeaders {
		if slices.ContainsFunc(p.Headers.list(), func(identity string) bool { return strings.EqualFold(identity, name) }) {
			return fmt.Errorf("requestHeaders: %s is one of headers, so that a client could say itself who it is", name)
		}
	}
	for name := range p.Files {
		if !fileName.MatchString(name) || slices.Contains([]string{"traefik.yaml", "routes.yaml"}, name) {
			return fmt.Errorf("files: %q cannot be the name of a file, use letters, digits and . _ -", name)
		}
	}
	for _, folder := range p.Writable {
		if !path.IsAbs(folder) || path.Clean(folder) != folder || folder == "/" {
			return fmt.Errorf("writable: %q is no absolute path of a folder", folder)
		}
	}
	_, err := p.fill(PluginData{Port: p.Port, Scopes: []string{"openid"}})
	return err
}

// filledProfile is a profile whose templates are filled in.
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

// maxText is what one template may come to, in bytes. A template of an admin with a loop that does not end is cut there.
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

// limited is a text of at most maxText bytes.
type limited struct{ strings.Builder }

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > maxText {
		return 0, fmt.Errorf("the text is longer than %d KiB: %w", maxText>>10, io.ErrShortWrite)
	}
	return l.Builder.Write(p)
}

// functions of all templates. What comes from a spec is quoted by one of them, always: else it could add lines of its own.
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

// quoteTOML writes a basic string of TOML 1.0, whose escapes are those of JSON.
func quoteTOML(value string) (string, error) {
	text, err := marshal(value)
	return strings.ReplaceAll(string(text), "\x7f", `\u007f`), err
}

// quoteYAML writes a value as JSON, which is YAML. It is in one line.
func quoteYAML(value any) (string, error) {
	text, err := marshal(value)
	return string(text), err
}

// quoteApache writes an argument of a directive of Apache's httpd. Its configuration expands ${NAME}, in quotation marks too,
// and there is no way to write it otherwise.
func quoteApache(value string) (string, error) {
	if strings.Contains(value, "${") || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", fmt.Errorf("%s cannot be written in a configuration of Apache", strconv.QuoteToASCII(value))
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`, nil
}
