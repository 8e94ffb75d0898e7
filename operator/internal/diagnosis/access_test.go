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
	well        = Check{OK: true}
	unreachable = Check{Reason: "ProviderUnreachable", Message: "the provider https://id.example.org cannot be reached: connection refused"}
	refused     = Check{Reason: "ClientRefused", Message: "the provider refuses the secret of the client"}
)

// access is what the authorization service says; a check that is "" is well.
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
		reason string
		in     Observation
		want   string
		says   []string
		not    []string
		wait   bool
	}{
		{reason: "a plugin that ends because of the provider is not what has to be mended", want: "ProviderUnreachable", says: []string{"Nobody can sign in", "https://id.example.org cannot be reached"},
			in: in(runs("access-authorization", false, time.Minute), ended("access-authentication", "Error", 1, "failed to discover"), access(unreachable, "", "authentication does not answer", ""))},
		{reason: "a plugin that ends by itself says why", want: "CrashLoopBackOff", says: []string{"access-authentication", "invalid configuration", "spec.auth.oidc", "kubectl logs alice-0 -c access-authentication"}, not: []string{"spec.pod"},
			in: in(runs("access-authorization", false, time.Minute), ended("access-authentication", "Error", 1, "invalid configuration"), access(well, "", "authentication does not answer", ""))},
		{reason: "an image of the access control is the admin's", want: "ImagePullBackOff", says: []string{"access-authentication", "admin"}, not: []string{"spec.pod"},
			in: in(runs("access-authorization", false, time.Minute), waits("access-authentication", "ErrImagePull", "not found"))},
		{reason: "Jupyter takes a moment to start, and nothing is wrong", want: "Starting", says: []string{"Jupyter runs and has not answered yet"}, wait: true,
			in: in(runs("access-authorization", false, time.Second), runs("access-authentication", true, time.Second), young, access(well, "", "", "Jupyter does not answer on 127.0.0.1:8888"))},
		{reason: "Jupyter that does not answer for long is named, and not who asked it", want: "AccessNotReady", says: []string{"Jupyter does not answer", "-c jupyter"},
			in: in(runs("access-authorization", false, time.Hour), runs("access-authentication", true, time.Hour), access(well, "", "", "Jupyter does not answer on 127.0.0.1:8888"))},
		{reason: "a proxy that lets everybody in is an alarm", want: "AccessNotReady", says: []string{"lets in anybody", "-c access-proxy"},
			in: in(runs("access-authorization", false, time.Hour), runs("access-authentication", true, time.Hour), access(well, "the proxy lets in anybody", "", ""))},
		{reason: "rules that cannot be read let nobody in", want: "AccessNotReady", says: []string{"nobody may enter", "-c access-authorization"},
			in: in(runs("access-authorization", false, time.Hour), runs("access-authentication", true, time.Hour), access(well, "", "", ""), func(o *Observation) {
				o.Access.Ready, o.Access.Checks["rules"] = false, Check{Message: "nobody may enter until the rules are right again"}
			})},
		{reason: "without an answer of the service the kubelet's word counts", want: "Unhealthy", says: []string{"access-authorization", "does not answer"},
			in: in(runs("access-authorization", false, time.Hour), runs("access-authentication", true, time.Hour))},
		{reason: "texts of a pod are quoted like those of a log", want: "ProviderUnreachable", not: []string{"\x1b", "hunter2"},
			in: in(ended("access-authentication", "Error", 1, ""), access(Check{Reason: "ProviderUnreachable", Message: "\x1b[31mpassword=hunter2\nx"}, "", "x", ""))},
		{reason: "a pod cannot speak with the operator's voice", want: "ProviderUnreachable", says: []string{`The access control says: "Your kubeconfig has expired`},
			in: in(ended("access-authentication", "Error", 1, ""), access(Check{Reason: "ProviderUnreachable", Message: "Your kubeconfig has expired"}, "", "x", ""))},
		{reason: "a reason that nobody knows is none", want: "CrashLoopBackOff",
			in: in(ended("access-authentication", "Error", 1, ""), access(Check{Reason: "Whatever", Message: "x"}, "", "x", ""))},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			got, found := Diagnose(tc.in)
			if !found || got.Reason != tc.want || (got.Severity == Progressing) != tc.wait {
				t.Fatalf("got %+v, %v", got, found)
			}
			for _, part := range tc.says {
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
		{"nobody answers, so nothing is known", nil, "", false},
		{"all is well", &Access{Provider: well}, "", false},
		{"not looked at yet", &Access{}, "", false},
		{"it passes by itself", &Access{Provider: unreachable}, "ProviderUnreachable", true},
		{"somebody has to register the client", &Access{Provider: refused}, "ClientRefused", false},
	} {
		got, found := ProviderTrouble(tc.in)
		if found != (tc.want != "") || got.Reason != tc.want || found && (got.Severity == Progressing) != tc.wait {
			t.Errorf("%s: got %+v, %v", tc.reason, got, found)
		}
	}
}

// A pod that is ready has nothing to be diagnosed: its provider is another matter.
func TestReadyPodWithoutProvider(t *testing.T) {
	if got, found := Diagnose(observe(withCondition(corev1.PodReady, corev1.ConditionTrue, "", ""), access(unreachable, "", "", ""))); found {
		t.Errorf("got %+v", got)
	}
}
