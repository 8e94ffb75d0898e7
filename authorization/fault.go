// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"
	"unicode"
)

// cause says in a few words why an HTTP request had no answer. It does not repeat the URL.
func cause(err error) string {
	var (
		timeout     interface{ Timeout() bool }
		dns         *net.DNSError
		certificate *tls.CertificateVerificationError
		number      syscall.Errno
		request     *url.Error
	)
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "there is no host " + clean(dns.Name)
	case errors.As(err, &dns):
		return "the name " + clean(dns.Name) + " cannot be looked up"
	case errors.As(err, &certificate):
		return clean(certificate.Err.Error())
	case errors.As(err, &number):
		return number.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it closes the connection"
	case errors.As(err, &request):
		return clean(request.Err.Error())
	default:
		return clean(err.Error())
	}
}

// clean makes one short line of text that comes from elsewhere.
func clean(text string) string {
	const limit = 200
	text = strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) && c != unicode.ReplacementChar {
			return c
		}
		return ' '
	}, text)
	short := []rune(strings.Join(strings.Fields(text), " "))
	if len(short) > limit {
		return string(short[:limit-1]) + "…"
	}
	return string(short)
}

// quote is clean, in quotes.
func quote(text string) string { return `"` + clean(text) + `"` }
