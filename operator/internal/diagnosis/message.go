// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"regexp"
	"strings"
	"unicode"
)

const (
	// messageLimit is the most characters of a message: more is not read in the column of a table.
	messageLimit = 300
	// adviceLimit keeps half of a message for the fact.
	adviceLimit = 150
	// quoteLimit is the most characters of a name or a log line inside of a message.
	quoteLimit = 160
	// inputLimit is the most bytes that are looked at of a text from outside.
	inputLimit = 8 << 10

	ellipsis = "…"
)

// sentence joins what is wrong and what to do. A long fact is shortened, the advice stays.
func sentence(fact, advice string) string {
	advice = clip(trimEnd(plain(advice)), adviceLimit)
	if advice == "" {
		return clip(trimEnd(plain(fact)), messageLimit-1) + "."
	}
	fact = clip(trimEnd(plain(fact)), messageLimit-len([]rune(advice))-len(". ."))
	if !strings.HasSuffix(fact, ellipsis) {
		fact += "."
	}
	return fact + " " + advice + "."
}

func trimEnd(s string) string {
	return strings.TrimRight(s, " .,:;")
}

// lastLine returns the last line of a log that says something.
func lastLine(log string) string {
	lines := strings.FieldsFunc(log, func(r rune) bool { return r == '\n' || r == '\r' })
	for i := len(lines) - 1; i >= 0; i-- {
		if line := plain(lines[i]); line != "" {
			return clip(line, quoteLimit)
		}
	}
	return ""
}

// rpcStatus is how a gRPC error starts.
var rpcStatus = regexp.MustCompile(`rpc error: code = \w+ desc = `)

// innermost returns the end of a chain of wrapped Go errors, which is where the cause stands.
func innermost(text string) string {
	text = rpcStatus.ReplaceAllString(plain(text), "")
	links := strings.Split(strings.TrimSuffix(text, ": unknown"), ": ")
	if len(links) > 2 {
		links = links[len(links)-2:]
	}
	return clip(strings.Join(links, ": "), quoteLimit)
}

// ansi matches terminal escape sequences: CSI (colours, cursor), OSC (titles, links) and the two-byte ones.
var ansi = regexp.MustCompile(`\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])`)

// plain makes one line without secrets, escapes and control characters of a text from outside.
func plain(text string) string {
	if len(text) > inputLimit {
		text = text[:inputLimit]
		// Without the word that was cut, which may be a secret that has lost its shape.
		text = text[:strings.LastIndexAny(text, " \n\t")+1]
	}
	text = strings.ToValidUTF8(text, " ")
	// Twice: an escape can swallow the start of a key, and can hide one.
	text = redact(ansi.ReplaceAllString(redact(text), ""))
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), unicode.IsSpace(r):
			return ' '
		case unicode.Is(unicode.Cf, r): // zero-width and direction marks
			return -1
		}
		return r
	}, text)
	return redact(strings.Join(strings.Fields(text), " "))
}

// secrets are the shapes that secrets have in logs and errors. The first group is the secret.
var secrets = []*regexp.Regexp{
	// https://user:password@host
	regexp.MustCompile(`://([^/\s]*)@`),
	// Authorization: Bearer ...
	regexp.MustCompile(`(?i)(?:bearer\s+)+([^\s"',]+)`),
	regexp.MustCompile(`(?i)authorization["']?\s*[:=]\s*["']?(?:[a-z]+\s+)?([^\s"',]+)`),
	// ?token=..., PASSWORD="...", --ServerApp.token=...
	regexp.MustCompile(`(?i)(?:token|passw(?:or)?d|secret|api[_-]?key|access[_-]?key|credentials?|signature)[\w.-]*["']?\s*=\s*((?:[^\s&"',;]*=)?(?:b?"[^"]*"|b?'[^']*'|[^\s&"',;]+))`),
	// --token ...
	regexp.MustCompile(`(?i)--[\w.-]*(?:token|password)\s+([^\s"',]+)`),
	// {"token": "..."}, password: ...
	regexp.MustCompile(`(?i)["'][\w.-]*(?:token|passw(?:or)?d|secret|key)["']\s*:\s*["']([^"']*)`),
	regexp.MustCompile(`(?i)passw(?:or)?d\s*:\s*([^\s"',]+)`),
	// A JSON web token.
	regexp.MustCompile(`(eyJ[\w-]{8,}(?:\.[\w-]*){1,2})`),
}

// redact covers the secrets of a text. Each shape is looked for in the text as it came: one after the other, a shape could
// cover the word that the next one knows a secret by.
func redact(text string) string {
	covered := make([]bool, len(text))
	for _, shape := range secrets {
		for _, match := range shape.FindAllStringSubmatchIndex(text, -1) {
			for i := match[2]; i < match[3]; i++ {
				covered[i] = true
			}
		}
	}
	var out strings.Builder
	for i := range len(text) {
		switch {
		case !covered[i]:
			out.WriteByte(text[i])
		case i == 0 || !covered[i-1]:
			out.WriteString("***")
		}
	}
	return out.String()
}

// clip shortens a text to so many characters.
func clip(text string, limit int) string {
	runes := []rune(text)
	if len(runes) <= limit {
		return text
	}
	return strings.TrimRight(string(runes[:limit-1]), " .,:;") + ellipsis
}

// quote makes a name from outside fit into a message.
func quote(name string) string {
	return clip(plain(name), quoteLimit)
}
