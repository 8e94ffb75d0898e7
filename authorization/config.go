// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
)

// config is the configuration file.
type config struct {
	// Server is the server's name, for people.
	Server string `json:"server"`
	// Home is the path of the server, with a slash at both ends.
	Home string `json:"home"`
	// SignOut is the path, with a query, that ends the session.
	SignOut  string      `json:"signOut"`
	Headers  headerNames `json:"headers"`
	Allow    allow       `json:"allow"`
	Chain    chain       `json:"chain"`
	Provider provider    `json:"provider"`
}

// headerNames are the names of the identity headers. Where a plugin has no such header, the name is empty; there is always
// one of the user.
type headerNames struct {
	User              string `json:"user"`
	Email             string `json:"email"`
	Groups            string `json:"groups"`
	PreferredUsername string `json:"preferredUsername"`
}

// allow says who may enter. Whoever matches one entry may. Nobody may when there is none.
//
// Users are values of the claim sub, and compared exactly. Emails are compared without regard to the case of ASCII letters.
// Groups are compared exactly; they arrive joined by commas, so that a group whose name holds a comma cannot be told from
// two groups: an entry with a comma never matches.
type allow struct {
	Users            []string `json:"users"`
	Emails           []string `json:"emails"`
	Groups           []string `json:"groups"`
	AnyAuthenticated bool     `json:"anyAuthenticated"`
}

// chain is where the parts of the pod answer, for /readyz.
type chain struct {
	Proxy          target `json:"proxy"`
	Authentication target `json:"authentication"`
	Jupyter        target `json:"jupyter"`
}

// target is a URL on this machine, and the Host header that it is asked with.
type target struct {
	URL  string `json:"url"`
	Host string `json:"host"`
}

// provider is the OpenID provider, and this server's client there.
type provider struct {
	Issuer   string `json:"issuer"`
	ClientID string `json:"clientId"`
	// ClientSecretFile is empty for a public client. Only `check` can read it.
	ClientSecretFile string   `json:"clientSecretFile"`
	RedirectURL      string   `json:"redirectUrl"`
	Scopes           []string `json:"scopes"`
	// CAFile holds certificates that are trusted besides the system's. Empty: there are none.
	CAFile string `json:"caFile"`
	// Report is the file by which `check` tells `serve` what it found.
	Report string `json:"report"`
}

// maxConfig is more than a ConfigMap can hold.
const maxConfig = 2 << 20

// readConfig reads the configuration file. Its error names the file and the field.
func readConfig(path string) (*config, []byte, error) {
	raw, err := readFile(path, maxConfig)
	if err != nil {
		return nil, nil, err
	}
	c, err := parseConfig(path, raw)
	return c, raw, err
}

func readFile(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, limit)
	}
	return raw, nil
}

// parseConfig reads the content of the file at a path.
func parseConfig(path string, raw []byte) (*config, error) {
	c, err := decodeConfig(raw)
	if err == nil {
		err = c.validate()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func decodeConfig(raw []byte) (*config, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	var c config
	if err := decoder.Decode(&c); err != nil {
		return nil, plain(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something after the JSON object")
	}
	return &c, nil
}

// plain says what is wrong with a JSON text in words of the file, not of Go.
func plain(err error) error {
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrongType) && wrongType.Field == "":
		return fmt.Errorf("a JSON %s cannot stand here", wrongType.Value)
	case errors.As(err, &wrongType):
		return fmt.Errorf("%s: a JSON %s cannot stand here", wrongType.Field, wrongType.Value)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the JSON object ends too early")
	default:
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
}

func (c *config) validate() error {
	const local = "must be a path that begins with one slash"
	const httpURL = "must be an http or https URL"
	for _, field := range []struct {
		name, want string
		holds      bool
	}{
		{"server", "must not be empty", c.Server != ""},
		{"home", local + " and ends with one", isLocal(c.Home) && strings.HasSuffix(c.Home, "/")},
		{"signOut", local, isLocal(c.SignOut)},
		{"chain.proxy.url", httpURL, isHTTP(c.Chain.Proxy.URL)},
		{"chain.authentication.url", httpURL, isHTTP(c.Chain.Authentication.URL)},
		{"chain.jupyter.url", httpURL, isHTTP(c.Chain.Jupyter.URL)},
		{"provider.issuer", httpURL + " without query and fragment", isIssuer(c.Provider.Issuer)},
		{"provider.clientId", "must not be empty", c.Provider.ClientID != ""},
		{"provider.redirectUrl", httpURL, isHTTP(c.Provider.RedirectURL)},
		{"provider.report", "must not be empty", c.Provider.Report != ""},
	} {
		if !field.holds {
			return fmt.Errorf("%s: %s", field.name, field.want)
		}
	}
	if err := c.Headers.validate(); err != nil {
		return err
	}
	return c.Allow.validate()
}

// validate refuses names that no proxy sets, names that mean something else, and one name for two headers.
func (n headerNames) validate() error {
	if n.User == "" {
		return errors.New("headers.user: must not be empty")
	}
	taken := map[string]string{"Cookie": "the cookies", "Accept": "what a browser understands", "Host": "the host"}
	for _, header := range []struct{ field, name string }{
		{"headers.user", n.User}, {"headers.email", n.Email},
		{"headers.groups", n.Groups}, {"headers.preferredUsername", n.PreferredUsername},
	} {
		if header.name == "" {
			continue
		}
		if !isHeaderName(header.name) {
			return fmt.Errorf("%s: a header's name is made of letters, digits and hyphens", header.field)
		}
		key := http.CanonicalHeaderKey(header.name)
		if other, found := taken[key]; found {
			return fmt.Errorf("%s: %s is the header of %s already", header.field, header.name, other)
		}
		if strings.HasPrefix(key, "X-Forwarded-") {
			return fmt.Errorf("%s: headers that begin with X-Forwarded- are the proxy's own", header.field)
		}
		taken[key] = header.field
	}
	return nil
}

// validate refuses empty entries: they would stand for a person without an email, or without a group.
func (a allow) validate() error {
	for _, list := range []struct {
		field   string
		entries []string
	}{{"allow.users", a.Users}, {"allow.emails", a.Emails}, {"allow.groups", a.Groups}} {
		if i := slices.Index(list.entries, ""); i >= 0 {
			return fmt.Errorf("%s[%d]: must not be empty", list.field, i)
		}
	}
	return nil
}

// isHeaderName is stricter than HTTP: an underscore can pass for a hyphen in other programs.
func isHeaderName(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return name != ""
}

// isLocal says that a link to it stays on this host.
func isLocal(path string) bool {
	return strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") && !strings.ContainsAny(path, "\\\t\r\n")
}

func isHTTP(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

func isIssuer(text string) bool {
	return isHTTP(text) && !strings.ContainsAny(text, "?#")
}
