// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestMetrics(t *testing.T) {
	m := newMetrics()
	m.rulesValid.Store(true)
	for _, took := range []time.Duration{0, 10 * time.Microsecond, 11 * time.Microsecond, time.Millisecond, time.Second} {
		m.decided(allowedGroup, took)
	}
	m.decided(notAllowed, 30*time.Millisecond)
	var out bytes.Buffer
	m.write(&out, clientRefused)
	for _, want := range []string{
		`decisions_total{result="allowed",reason="GroupAllowed"} 5`,
		`decisions_total{result="denied",reason="NotAllowed"} 1`,
		`decisions_total{result="denied",reason="IdentityMissing"} 0`,
		`decision_duration_seconds_bucket{le="1e-05"} 2`,
		`decision_duration_seconds_bucket{le="2.5e-05"} 3`,
		`decision_duration_seconds_bucket{le="0.001"} 4`,
		`decision_duration_seconds_bucket{le="0.1"} 5`,
		`decision_duration_seconds_bucket{le="+Inf"} 6`,
		`decision_duration_seconds_count 6`,
		`decision_duration_seconds_sum 1.031021`,
		`rules_valid 1`,
		`reloads_total{result="failed"} 0`,
		`provider_ok 0`,
		`provider_problem{reason="ClientRefused"} 1`,
		`provider_problem{reason="ProviderInvalid"} 0`,
	} {
		if !strings.Contains(out.String(), "\n"+prefix+want+"\n") {
			t.Errorf("missing %s in\n%s", want, out.String())
		}
	}
	checkExposition(t, out.String())
}

// checkExposition checks Prometheus' text format: the type of a metric precedes its samples.
func checkExposition(t *testing.T, text string) {
	t.Helper()
	sample := regexp.MustCompile(`^([a-z_]+?)(_bucket|_sum|_count)?(\{[a-z]+="[^"\\]*"(,[a-z]+="[^"\\]*")*\})? [0-9.e+-]+$`)
	described := map[string]bool{}
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if name, found := strings.CutPrefix(line, "# TYPE "); found {
			described[strings.Fields(name)[0]] = true
			continue
		}
		if strings.HasPrefix(line, "# HELP ") {
			continue
		}
		parts := sample.FindStringSubmatch(line)
		if parts == nil || !described[parts[1]] {
			t.Errorf("sample of an undescribed metric: %s", line)
			continue
		}
		series := line[:strings.LastIndex(line, " ")]
		if seen[series] {
			t.Errorf("duplicate series: %s", series)
		}
		seen[series] = true
	}
}
