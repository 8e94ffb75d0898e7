// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	healthy     = Check{OK: true}
	unreachable = Check{Reason: "ProviderUnreachable", Message: "the provider https://id.example.org cannot be reached: connection refused"}
	rejected    = Check{Reason: "ClientRefused", Message: "the provider rejects the secret of the client"}
)

// access sets the report of the authorization service. An empty string means that the check passes.
func access(provider Check, proxy, authentication, jupyter string) change {
	check := func(message string) Check { return Check{OK: message == "", Message: message} }
	return func(o *Observation) {
		o.Access = &Access{
			Ready:    proxy+authentication+jupyter == "",
			Checks:   map[string]Check{"proxy": check(proxy), "authentication": check(authentication), "jupyter": check(jupyter)},
			Provider: provider,
		}
	}
}

func young(o *Observation) { o.Pod.CreationTimestamp = metav1.NewTime(now.Add(-5 * time.Second)) }

func TestDiagnoseAccess(t *testing.T) {
	sidecars := []change{initContainer("access-authorization", true), initContainer("access-authentication", true), runs("jupyter", true, time.Minute), runs("traefik", true, time.Minute)}
	in := func(changes ...change) Observation { return observe(append(sidecars[:4:4], changes...)...) }
	for _, tc := range []struct {
		reason   string
		in       Observation
		want     string
		contains []string
		not      []string
		wait     bool
	}{
		{reason: "the provider is reported rather than the plugin that exits because of it", want: "ProviderUnreachable", contains: []string{"New sign-ins fail", "https://id.example.org cannot be reached"},
			in: in(runs("access-authorization", false, time.Minute), ended("access-authentication", "Error", 1, "failed to discover"), access(unreachable, "", "authentication does not answer", ""))},
		{reason: "a plugin that exits for another reason is reported", want: "CrashLoopBackOff", contains: []string{"access-authentication", "invalid configuration", "spec.auth.oidc", "kubectl logs alice-0 -c access-authentication"}, not: []string{"spec.pod"},
			in: in(runs("access-authorization", false, time.Minute), ended("access-authentication", "Error", 1, "invalid configuration"), access(healthy, "", "authentication does not answer", ""))},
		{reason: "users cannot fix an image of the access control", want: "ImagePullBackOff", contains: []string{"access-authentication", "administrator"}, not: []string{"spec.pod"},
			in: in(runs("access-authorization", false, time.Minute), waits("access-authentication", "ErrImagePull", "not found"))},
		{reason: "a starting Jupyter is not a problem", want: "Starting", contains: []string{"Jupyter is running, but has not responded yet"}, wait: true,
			in: in(runs("access-authorization", false, time.Second), runs("access-authentication", true, time.Second), young, access(healthy, "", "", "Jupyter does not answer on 127.0.0.1:8888"))},
		{reason: "a Jupyter that does not respond for long is reported rather than the prober", want: "AccessNotReady", contains: []string{"Jupyter does not answer", "-c jupyter"},
			in: in(runs("access-authorization", false, time.Hour), runs("access-authentication", true, time.Hour), access(healthy, "", "", "Jupyter does not answer on 127.0.0.1:8888"))},
		{reason: "a proxy that admits everyone is reported", want: "AccessNotReady", contains: []string{"admits anyone", "-c access-proxy"},
			in: in(runs("access-authorization", false, time.Hour), runs("access-authentication", true, time.Hour), access(healthy, "the proxy admits anyone", "", ""))},
		{reason: "unreadable rules are reported", want: "AccessNotReady", contains: []string{"access is denied", "-c access-authorization"},
			in: in(runs("access-authorization", false, time.Hour), runs("access-authentication", true, time.Hour), access(healthy, "", "", ""), func(o *Observation) {
				o.Access.Ready, o.Access.Checks["rules"] = false, Check{Message: "access is denied until the rules are valid"}
			})},
		{reason: "without a response of the service the kubelet's probe counts", want: "Unhealthy", contains: []string{"access-authorization", "does not respond"},
			in: in(runs("access-authorization", false, time.Hour), runs("access-authentication", true, time.Hour))},
		{reason: "texts of a pod are sanitized like those of a log", want: "ProviderUnreachable", not: []string{"\x1b", "hunter2"},
			in: in(ended("access-authentication", "Error", 1, ""), access(Check{Reason: "ProviderUnreachable", Message: "\x1b[31mpassword=hunter2\nx"}, "", "x", ""))},
		{reason: "a text of a pod is marked as a quotation", want: "ProviderUnreachable", contains: []string{`The access control reports: "Your kubeconfig has expired`},
			in: in(ended("access-authentication", "Error", 1, ""), access(Check{Reason: "ProviderUnreachable", Message: "Your kubeconfig has expired"}, "", "x", ""))},
		{reason: "an unknown reason is ignored", want: "CrashLoopBackOff",
			in: in(ended("access-authentication", "Error", 1, ""), access(Check{Reason: "Whatever", Message: "x"}, "", "x", ""))},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			got, found := Diagnose(tc.in)
			if !found || got.Reason != tc.want || (got.Severity == Progressing) != tc.wait {
				t.Fatalf("got %+v, %v", got, found)
			}
			for _, part := range tc.contains {
				if !strings.Contains(got.Message, part) {
					t.Errorf("%q is not in the message: %s", part, got.Message)
				}
			}
			for _, part := range tc.not {
				if strings.Contains(got.Message, part) {
					t.Errorf("%q is in the message: %s", part, got.Message)
				}
			}
			checkMessage(t, got.Message)
			t.Log(got.Message)
		})
	}
}

func TestProviderTrouble(t *testing.T) {
	for _, tc := range []struct {
		reason string
		in     *Access
		want   string
		wait   bool
	}{
		{"no response", nil, "", false},
		{"no problem", &Access{Provider: healthy}, "", false},
		{"not checked yet", &Access{}, "", false},
		{"resolves without action", &Access{Provider: unreachable}, "ProviderUnreachable", true},
		{"the client must be registered", &Access{Provider: rejected}, "ClientRefused", false},
	} {
		got, found := ProviderTrouble(tc.in)
		if found != (tc.want != "") || got.Reason != tc.want || found && (got.Severity == Progressing) != tc.wait {
			t.Errorf("%s: got %+v, %v", tc.reason, got, found)
		}
	}
}

// TestReadyPodWithoutProvider: a ready pod has no finding. ProviderTrouble reports the provider separately.
func TestReadyPodWithoutProvider(t *testing.T) {
	if got, found := Diagnose(observe(withCondition(corev1.PodReady, corev1.ConditionTrue, "", ""), access(unreachable, "", "", ""))); found {
		t.Errorf("got %+v", got)
	}
}
