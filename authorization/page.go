// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"strconv"
	"strings"
)

//go:embed pages
var pageFiles embed.FS

// pages are the HTML pages of the service.
type pages struct {
	denied, signedOut *template.Template
	policy            string // the Content-Security-Policy
}

func newPages() *pages {
	style, err := pageFiles.ReadFile("pages/style.css")
	if err != nil {
		panic(err) // an embedded file cannot be missing
	}
	sum := sha256.Sum256(style)
	functions := template.FuncMap{"style": func() template.CSS { return template.CSS(style) }} //nolint:gosec // an embedded file
	parse := func(content string) *template.Template {
		return template.Must(template.New("layout.html").Funcs(functions).
			ParseFS(pageFiles, "pages/layout.html", "pages/"+content))
	}
	return &pages{
		denied:    parse("denied.html"),
		signedOut: parse("signed-out.html"),
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	}
}

// write responds with a page. It returns an error only before the first byte is written.
func (p *pages) write(w http.ResponseWriter, code int, page *template.Template, data any) error {
	var body bytes.Buffer
	if err := page.Execute(&body, data); err != nil {
		return err
	}
	header := w.Header()
	harden(header)
	header.Set("Content-Security-Policy", p.policy)
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(code)
	_, _ = w.Write(body.Bytes()) // fails if the client is gone
	return nil
}

// harden sets the security headers of every response to a client.
func harden(header http.Header) {
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
}

// isNavigation reports whether a browser navigates to a page, as opposed to a script that calls Jupyter's API.
func isNavigation(header http.Header, home string) bool {
	switch header.Get("X-Forwarded-Method") {
	case http.MethodGet, http.MethodHead:
	default:
		return false
	}
	path := forwardedPath(header)
	for _, api := range []string{"api/", "terminals/", "lsp/"} {
		if strings.HasPrefix(path, home+api) {
			return false
		}
	}
	return accepts(header.Values("Accept"), "text/html")
}

// forwardedPath is the path of the client's request without the query, which may contain a token.
func forwardedPath(header http.Header) string {
	path, _, _ := strings.Cut(header.Get("X-Forwarded-Uri"), "?")
	path, _, _ = strings.Cut(path, "#")
	return path
}

func accepts(lines []string, media string) bool {
	for _, line := range lines {
		for entry := range strings.SplitSeq(line, ",") {
			kind, _, _ := strings.Cut(entry, ";")
			if strings.EqualFold(strings.Trim(kind, " \t"), media) {
				return true
			}
		}
	}
	return false
}
