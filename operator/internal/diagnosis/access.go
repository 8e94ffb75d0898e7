// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"fmt"
	"strings"
)

// AccessPrefix is what the names of the containers of the access control begin with (postrender/templates/pod.yaml).
const AccessPrefix = "access-"

// Access is what the access control of a server says of itself: the answer of the authorization service in its pod
// (authorization/ready.go). It comes from a pod that users have a hand in, so that its texts are quoted like those of a log.
type Access struct {
	// Ready says that the whole chain answers.
	Ready bool `json:"ready"`
	// Checks are what stands in the chain: proxy, authentication, jupyter, and the rules of who may enter.
	Checks map[string]Check `json:"checks"`
	// Provider is the OpenID provider. It never makes the chain unready: who is signed in goes on.
	Provider Check `json:"provider"`
}

// Check is one thing that was asked.
type Check struct {
	// OK says that it answered as it should.
	OK bool `json:"ok"`
	// Reason is a word in CamelCase, of the provider's check alone.
	Reason string `json:"reason"`
	// Message is one sentence.
	Message string `json:"message"`
}

// providerReasons are the ones that the authorization service gives, what they mean in our own words, and whether somebody has to
// do something about it. The service's words come from a pod that users have a hand in, so they are quoted.
var providerReasons = map[string]struct {
	fact     string
	severity Severity
}{
	"ProviderUnreachable": {"Nobody can sign in at the moment", Progressing},
	"ProviderInvalid":     {"Nobody can sign in", Degraded},
	"ClientRefused":       {"Nobody can sign in", Degraded},
}

// saidLimit is the most characters of what the access control says: names of issuers and redirect URLs are long.
const saidLimit = 220

// ProviderTrouble says what is wrong with the OpenID provider of a server whose access control answers. Progressing is what
// passes by itself: people who are signed in go on meanwhile.
func ProviderTrouble(access *Access) (Finding, bool) {
	if access == nil || access.Provider.OK {
		return none()
	}
	reason, known := providerReasons[access.Provider.Reason]
	if !known {
		return none() // not checked yet
	}
	said := clip(trimEnd(plain(access.Provider.Message)), saidLimit)
	message := fmt.Sprintf("%s. The access control says: %q.", reason.fact, strings.ReplaceAll(said, `"`, "'"))
	return Finding{Reason: access.Provider.Reason, Message: message, Severity: reason.severity}, true
}

// providerTrouble explains a plugin that does not start because of the provider.
func providerTrouble(o Observation) (Finding, bool) {
	finding, found := ProviderTrouble(o.Access)
	if !found {
		return none()
	}
	finding.Severity = Degraded // nobody gets in
	return finding, true
}

// chainUnready names what in the chain does not answer. The kubelet sees the authorization service alone.
func chainUnready(o Observation) (Finding, bool) {
	if o.Access == nil || o.Access.Ready {
		return none()
	}
	for _, name := range []string{"rules", "jupyter", "authentication", "proxy"} {
		check, asked := o.Access.Checks[name]
		if !asked || check.OK {
			continue
		}
		age := o.Now.Sub(o.Pod.CreationTimestamp.Time)
		if name == "jupyter" && age < patience {
			f, found := progressing("Starting", "Jupyter runs and has not answered yet", "")
			f.Recheck = patience - age
			return f, found
		}
		return degraded("AccessNotReady", fmt.Sprintf("The access control is not ready and says: '%s'", quote(check.Message)),
			fmt.Sprintf("See kubectl logs %s -c %s", quote(o.Pod.Name), containerOf[name]))
	}
	return none()
}

// containerOf is whose log tells more about a check.
var containerOf = map[string]string{
	"rules":          AccessPrefix + "authorization",
	"jupyter":        JupyterContainer,
	"authentication": AccessPrefix + "authentication",
	"proxy":          AccessPrefix + "proxy",
}

// isAccess says whether a container is one of the access control's, which is the admin's, and not the user's.
func (c container) isAccess() bool {
	return strings.HasPrefix(c.status.Name, AccessPrefix)
}
