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

// pages are what people see in a browser.
type pages struct {
	refused, signedOut *template.Template
	policy             string // the Content-Security-Policy
}

func newPages() *pages {
	style, err := pageFiles.ReadFile("pages/style.css")
	if err != nil {
		panic(err) // an embedded file cannot be missing
	}
	sum := sha256.Sum256(style)
	functions := template.FuncMap{"style": func() template.CSS { return template.CSS(style) }}
	parse := func(content string) *template.Template {
		return template.Must(template.New("layout.html").Funcs(functions).
			ParseFS(pageFiles, "pages/layout.html", "pages/"+content))
	}
	return &pages{
		refused:   parse("refused.html"),
		signedOut: parse("signed-out.html"),
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	}
}

// write answers with a page. It fails before the first byte, or not at all.
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
	_, _ = w.Write(body.Bytes()) // whoever asked has gone
	return nil
}

// harden sets what holds for every answer that reaches a client.
func harden(header http.Header) {
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
}

// isNavigation says that a person looks at the answer: a browser that goes to a page, not a script that asks Jupyter's API.
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

// forwardedPath is the path that the client asked for. The query may carry a token, and stays behind.
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
