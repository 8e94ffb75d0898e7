// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
)

const (
	// messageLimit is the maximum length of a message: a longer one is not readable in a table column.
	messageLimit = 300
	// adviceLimit reserves half of a message for the fact.
	adviceLimit = 150
	// quoteLimit is the maximum length of a name or log line in a message.
	quoteLimit = 160
	// inputLimit is the maximum number of bytes of an external text that are processed.
	inputLimit = 8 << 10

	ellipsis = "…"
)

// sentence joins the problem and the advice. A long fact is shortened; the advice is kept.
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

// lastLine returns the last line of a log that is not blank.
func lastLine(log string) string {
	lines := strings.FieldsFunc(log, func(r rune) bool { return r == '\n' || r == '\r' })
	for _, line := range slices.Backward(lines) {
		if line := plain(line); line != "" {
			return clip(line, quoteLimit)
		}
	}
	return ""
}

// rpcStatus is the prefix of a gRPC error.
var rpcStatus = regexp.MustCompile(`rpc error: code = \w+ desc = `)

// innermost returns the end of a chain of wrapped Go errors, which contains the cause.
func innermost(text string) string {
	text = rpcStatus.ReplaceAllString(plain(text), "")
	links := strings.Split(strings.TrimSuffix(text, ": unknown"), ": ")
	if len(links) > 2 {
		links = links[len(links)-2:]
	}
	return clip(strings.Join(links, ": "), quoteLimit)
}

// ansi matches terminal escape sequences: CSI (colors, cursor), OSC (titles, links) and the two-byte ones.
var ansi = regexp.MustCompile(`\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])`)

// plain converts an external text to one line without secrets, escape sequences and control characters.
func plain(text string) string {
	if len(text) > inputLimit {
		text = text[:inputLimit]
		// Drop the word that was cut: it may be a secret that no longer matches its pattern.
		text = text[:strings.LastIndexAny(text, " \n\t")+1]
	}
	text = strings.ToValidUTF8(text, " ")
	// Redact twice: an escape sequence can swallow the start of a key, and can hide one.
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

// secrets are the patterns of secrets in logs and errors. The first group is the secret.
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

// redact masks the secrets of a text. Every pattern is matched against the original text: masked one after the other, a pattern
// could mask the keyword by which the next one recognizes a secret.
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

// clip shortens a text to at most limit characters.
func clip(text string, limit int) string {
	runes := []rune(text)
	if len(runes) <= limit {
		return text
	}
	return strings.TrimRight(string(runes[:limit-1]), " .,:;") + ellipsis
}

// quote makes an external name safe for a message.
func quote(name string) string {
	return clip(plain(name), quoteLimit)
}
