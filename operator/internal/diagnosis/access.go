// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"fmt"
	"strings"
)

// AccessPrefix is the name prefix of the access control's containers (postrender/templates/pod.yaml).
const AccessPrefix = "access-"

// Access is the state of a server's access control, as the authorization service in its pod reports it (authorization/ready.go).
// Users influence that pod, so its texts are quoted like those of a log.
type Access struct {
	// Ready reports whether the whole chain responds.
	Ready bool `json:"ready"`
	// Checks are the results for the parts of the chain: proxy, authentication, jupyter and rules (the access rules).
	Checks map[string]Check `json:"checks"`
	// Provider is the result for the OpenID provider. It never makes the chain unready, because existing sessions keep working.
	Provider Check `json:"provider"`
}

// Check is the result for one part of the access control.
type Check struct {
	// OK reports whether the part responds as expected.
	OK bool `json:"ok"`
	// Reason is a CamelCase word. Only the provider's check has one.
	Reason string `json:"reason"`
	// Message is one sentence.
	Message string `json:"message"`
}

// providerReasons are the reasons that the authorization service reports, with our description, and Degraded where manual action
// is needed. The service's own message comes from a pod that users influence, so it is quoted.
var providerReasons = map[string]struct {
	fact     string
	severity Severity
}{
	"ProviderUnreachable": {"New sign-ins fail at the moment", Progressing},
	"ProviderInvalid":     {"No user can sign in", Degraded},
	"ClientRefused":       {"No user can sign in", Degraded},
}

// accessLimit is the maximum length of a message of the access control: names of issuers and redirect URLs are long.
const accessLimit = 220

// ProviderTrouble returns the problem with the OpenID provider of a server whose access control responds. It is Progressing if
// it resolves without action; signed-in users can keep working meanwhile.
func ProviderTrouble(access *Access) (Finding, bool) {
	if access == nil || access.Provider.OK {
		return none()
	}
	reason, known := providerReasons[access.Provider.Reason]
	if !known {
		return none() // not checked yet
	}
	reported := clip(trimEnd(plain(access.Provider.Message)), accessLimit)
	message := fmt.Sprintf("%s. The access control reports: %q.", reason.fact, strings.ReplaceAll(reported, `"`, "'"))
	return Finding{Reason: access.Provider.Reason, Message: message, Severity: reason.severity}, true
}

// providerTrouble explains an authentication plugin that does not start because of the provider.
func providerTrouble(o Observation) (Finding, bool) {
	finding, found := ProviderTrouble(o.Access)
	if !found {
		return none()
	}
	finding.Severity = Degraded // the server is not accessible
	return finding, true
}

// chainUnready names the part of the chain that does not respond. The kubelet probes only the authorization service.
func chainUnready(o Observation) (Finding, bool) {
	if o.Access == nil || o.Access.Ready {
		return none()
	}
	for _, name := range []string{"rules", "jupyter", "authentication", "proxy"} {
		check, checked := o.Access.Checks[name]
		if !checked || check.OK {
			continue
		}
		age := o.Now.Sub(o.Pod.CreationTimestamp.Time)
		if name == "jupyter" && age < stepTimeout {
			f, found := progressing("Starting", "Jupyter is running, but has not responded yet", "")
			f.Recheck = stepTimeout - age
			return f, found
		}
		return degraded("AccessNotReady", fmt.Sprintf("The access control is not ready: '%s'", quote(check.Message)),
			fmt.Sprintf("See kubectl logs %s -c %s", quote(o.Pod.Name), containerOf[name]))
	}
	return none()
}

// containerOf maps a check to the container whose log has details.
var containerOf = map[string]string{
	"rules":          AccessPrefix + "authorization",
	"jupyter":        JupyterContainer,
	"authentication": AccessPrefix + "authentication",
	"proxy":          AccessPrefix + "proxy",
}

// isAccess reports whether the container belongs to the access control, which administrators configure, not users.
func (c container) isAccess() bool {
	return strings.HasPrefix(c.status.Name, AccessPrefix)
}
