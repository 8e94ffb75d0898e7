// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
)

// checkMessage checks what every message must satisfy.
func checkMessage(t *testing.T, message string) {
	t.Helper()
	if !utf8.ValidString(message) {
		t.Errorf("not UTF-8: %q", message)
	}
	if n := utf8.RuneCountInString(message); n > messageLimit {
		t.Errorf("%d characters: %s", n, message)
	}
	if !strings.HasSuffix(message, ".") {
		t.Errorf("no full stop at the end: %q", message)
	}
	if strings.ContainsFunc(message, unicode.IsControl) || strings.ContainsAny(message, "\u2028\u2029") {
		t.Errorf("more than one plain line: %q", message)
	}
}

func TestLastLine(t *testing.T) {
	tests := []struct{ name, reason, log, want string }{
		{"empty", "an empty log has no line", "", ""},
		{"blank end", "blank lines are skipped", "error\n \n\r\n", "error"},
		{"colors", "escapes are for terminals", "\x1b[1;31merror\x1b[0m: bad", "error: bad"},
		{"carriage returns", "a progress bar overwrites its line", "10%\r20%\rfailed", "failed"},
		{"URL of Jupyter", "Jupyter prints the token when it starts", "http://localhost:8888/lab?token=4e1f", "http://localhost:8888/lab?token=***"},
		{"option", "arguments appear in tracebacks", "['--ServerApp.token=4e1f', 'x']", "['--ServerApp.token=***', 'x']"},
		{"userinfo", "pip prints the index URL", "Looking in indexes: https://bob:4e1f@pypi.example.org/simple", "Looking in indexes: https://***@pypi.example.org/simple"},
		{"header", "clients print requests", "Authorization: Bearer 4e1f", "Authorization: Bearer ***"},
		{"json", "structured logs quote the key", `{"token": "4e1f", "a": 1}`, `{"token": "***", "a": 1}`},
		{"split by an escape", "an escape sequence in the key must not hide it", "tok\x1b[0men=4e1f", "token=***"},
		{"swallowed by an escape", "an escape sequence that swallows the key's first letter must not hide it", "\x1b[token=4e1f", "oken=***"},
		{"long", "one line of a table", strings.Repeat("é", 500), strings.Repeat("é", quoteLimit-1) + ellipsis},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := lastLine(tt.log); got != tt.want {
				t.Errorf("%s: got %q, want %q", tt.reason, got, tt.want)
			}
		})
	}
}

func TestSentence(t *testing.T) {
	long := strings.Repeat("word ", 200)
	for _, message := range []string{sentence("", ""), sentence(long, ""), sentence(long, long), sentence("it is\nbroken.", "fix it.")} {
		checkMessage(t, message)
	}
	if got, want := sentence("It is\nbroken.", "Fix it"), "It is broken. Fix it."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := sentence(long, "Fix it"); !strings.HasSuffix(got, "… Fix it.") {
		t.Errorf("a long fact must not truncate the advice: %q", got)
	}
}

func FuzzDiagnose(f *testing.F) {
	const planted = "S3cr3tValue"
	f.Add("", "", "", "", "", uint8(0), uint8(0))
	f.Add("ErrImagePull", "not found", "Killing", "\x1b[", "\xff", uint8(1), uint8(1))
	f.Add("CreateContainerConfigError", `secret "`, "FailedMount", "Bearer ", "\n", uint8(2), uint8(2))
	f.Add("Unschedulable", `persistentvolumeclaim "`, "FailedCreate", "authorization: a ", `" not found`, uint8(3), uint8(3))
	f.Add("StartError", `exec: "`, "ProvisioningFailed", "://", "@", uint8(4), uint8(0))
	f.Fuzz(func(t *testing.T, reason, message, eventReason, prefix, suffix string, place, shape uint8) {
		secret := []string{"token=" + planted, "PASSWORD='" + planted + "'", "Bearer " + planted, "https://bob:" + planted + "@host/x"}[shape%4]
		message += prefix + secret + suffix
		o := observe(log(message), event("pod", time.Minute, eventReason, message), about("jupyter"),
			event("set", time.Minute, eventReason, message), event("claim", time.Minute, eventReason, message))
		switch place % 8 {
		case 0:
			waits("jupyter", reason, message)(&o)
		case 1:
			ended("jupyter", reason, int32(place), message)(&o)
		case 2:
			unschedulablePod(message)(&o)
		case 3:
			withoutPod(&o)
		case 4:
			claimPhase(corev1.ClaimPending)(&o)
		case 5:
			withPod(func(p *corev1.Pod) {
				p.Status.Phase, p.Status.Reason, p.Status.Message = corev1.PodFailed, reason, message
			})(&o)
		case 6:
			initContainer(prefix, place%16 == 6)(&o)
			waits(prefix, reason, message)(&o)
		case 7:
			runs("jupyter", false, time.Hour)(&o)
			withPod(func(p *corev1.Pod) { p.Name, p.Spec.NodeName = message, message })(&o)
		}
		got, found := Diagnose(o)
		if !found {
			return
		}
		if strings.Contains(got.Message, planted) {
			t.Errorf("secret in the message: %q", got.Message)
		}
		checkMessage(t, got.Message)
		if again, _ := Diagnose(o); again != got {
			t.Errorf("got %+v and then %+v", got, again)
		}
	})
}
