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

// cause returns a short reason why an HTTP request failed, without the URL.
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
		return "timeout"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "host " + clean(dns.Name) + " not found"
	case errors.As(err, &dns):
		return "DNS lookup of " + clean(dns.Name) + " failed"
	case errors.As(err, &certificate):
		return clean(certificate.Err.Error())
	case errors.As(err, &number):
		return number.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	case errors.As(err, &request):
		return clean(request.Err.Error())
	default:
		return clean(err.Error())
	}
}

// clean returns untrusted text as one short printable line.
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

// quote returns clean text in quotes.
func quote(text string) string { return `"` + clean(text) + `"` }
