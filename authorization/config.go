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
	// Server is the name of the server, for display.
	Server string `json:"server"`
	// Home is the path of the server, with a leading and a trailing slash.
	Home string `json:"home"`
	// SignOut is the path, with its query, that ends the session.
	SignOut  string      `json:"signOut"`
	Headers  headerNames `json:"headers"`
	Allow    allow       `json:"allow"`
	Chain    chain       `json:"chain"`
	Provider provider    `json:"provider"`
}

// headerNames are the names of the identity headers. All but User may be empty if the plugin has no such header.
type headerNames struct {
	User              string `json:"user"`
	Email             string `json:"email"`
	Groups            string `json:"groups"`
	PreferredUsername string `json:"preferredUsername"`
}

// allow lists the identities that are allowed. One matching entry is enough; without entries everyone is denied.
//
// Users are values of the claim sub and compared exactly. Emails are compared without regard to the case of ASCII letters.
// Groups are compared exactly. They are received joined by commas, so a group with a comma in its name cannot be distinguished
// from two groups: an entry with a comma never matches.
type allow struct {
	Users            []string `json:"users"`
	Emails           []string `json:"emails"`
	Groups           []string `json:"groups"`
	AnyAuthenticated bool     `json:"anyAuthenticated"`
}

// chain holds the addresses of the other containers of the pod, for /readyz.
type chain struct {
	Proxy          target `json:"proxy"`
	Authentication target `json:"authentication"`
	Jupyter        target `json:"jupyter"`
}

// target is a URL in the pod and the Host header of requests to it.
type target struct {
	URL  string `json:"url"`
	Host string `json:"host"`
}

// provider is the OpenID provider and this server's client there.
type provider struct {
	Issuer   string `json:"issuer"`
	ClientID string `json:"clientId"`
	// ClientSecretFile is empty for a public client. Only `check` can read it.
	ClientSecretFile string   `json:"clientSecretFile"`
	RedirectURL      string   `json:"redirectUrl"`
	Scopes           []string `json:"scopes"`
	// CAFile holds certificates that are trusted in addition to the system's. It may be empty.
	CAFile string `json:"caFile"`
	// Report is the file in which `check` leaves its finding for `serve`.
	Report string `json:"report"`
}

// maxConfig exceeds the largest possible ConfigMap.
const maxConfig = 2 << 20

// readConfig reads the configuration file. Errors name the file and the field.
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

// parseConfig decodes and validates the content of the file at a path.
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
		return nil, describeJSONError(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("unexpected content after the JSON object")
	}
	return &c, nil
}

// describeJSONError describes a decoding error in terms of the file, not of Go types.
func describeJSONError(err error) error {
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrongType) && wrongType.Field == "":
		return fmt.Errorf("unexpected JSON %s", wrongType.Value)
	case errors.As(err, &wrongType):
		return fmt.Errorf("%s: unexpected JSON %s", wrongType.Field, wrongType.Value)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("unexpected end of the JSON object")
	default:
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
}

func (c *config) validate() error {
	const local = "must be a path that begins with one slash"
	const httpURL = "must be an http or https URL"
	for _, field := range []struct {
		name, want string
		valid      bool
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
		if !field.valid {
			return fmt.Errorf("%s: %s", field.name, field.want)
		}
	}
	if err := c.Headers.validate(); err != nil {
		return err
	}
	return c.Allow.validate()
}

// validate rejects names that no proxy sets, names with another meaning, and one name for two headers.
func (n headerNames) validate() error {
	if n.User == "" {
		return errors.New("headers.user: must not be empty")
	}
	used := map[string]string{"Cookie": "cookies", "Accept": "media types", "Host": "the host"}
	for _, header := range []struct{ field, name string }{
		{"headers.user", n.User}, {"headers.email", n.Email},
		{"headers.groups", n.Groups}, {"headers.preferredUsername", n.PreferredUsername},
	} {
		if header.name == "" {
			continue
		}
		if !isHeaderName(header.name) {
			return fmt.Errorf("%s: must consist of letters, digits and hyphens", header.field)
		}
		key := http.CanonicalHeaderKey(header.name)
		if other, found := used[key]; found {
			return fmt.Errorf("%s: %s is already the header of %s", header.field, header.name, other)
		}
		if strings.HasPrefix(key, "X-Forwarded-") {
			return fmt.Errorf("%s: headers that begin with X-Forwarded- are reserved for the proxy", header.field)
		}
		used[key] = header.field
	}
	return nil
}

// validate rejects empty entries: they would match identities without an email or without a group.
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

// isHeaderName is stricter than HTTP: other programs may treat an underscore like a hyphen.
func isHeaderName(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return name != ""
}

// isLocal reports whether a link to the path stays on this host.
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
