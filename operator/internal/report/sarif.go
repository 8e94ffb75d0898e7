// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/jupyterserver/jupyter-server-operator/policies"
)

const sarifSchema = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

// The objects of SARIF 2.1.0 that are written here, with the names of their SARIF properties.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool         `json:"tool"`
		Invocations []sarifInvocation `json:"invocations"`
		Results     []sarifResult     `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID      string              `json:"id"`
		Short   sarifText           `json:"shortDescription"`
		Full    sarifText           `json:"fullDescription"`
		Help    sarifText           `json:"help"`
		Default *sarifConfiguration `json:"defaultConfiguration,omitempty"`
	}
	sarifConfiguration struct {
		Level string `json:"level"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifInvocation struct {
		Successful    bool                `json:"executionSuccessful"`
		Notifications []sarifNotification `json:"toolExecutionNotifications,omitempty"`
	}
	sarifNotification struct {
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations,omitempty"`
	}
	sarifResult struct {
		RuleID       string             `json:"ruleId"`
		RuleIndex    int                `json:"ruleIndex"`
		Level        string             `json:"level"`
		Message      sarifText          `json:"message"`
		Locations    []sarifLocation    `json:"locations"`
		Fingerprints map[string]string  `json:"partialFingerprints"`
		Suppressions []sarifSuppression `json:"suppressions"` // empty rather than omitted: it is known that there are none
	}
	sarifSuppression struct {
		Kind          string `json:"kind"`
		Status        string `json:"status"`
		Justification string `json:"justification"`
	}
	sarifLocation struct {
		Physical *sarifPhysical `json:"physicalLocation,omitempty"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
	sarifLogical struct {
		Name          string `json:"name"`
		QualifiedName string `json:"fullyQualifiedName"`
		Kind          string `json:"kind"`
	}
)

func writeSARIF(out io.Writer, r Report) error {
	rules := sarifRules(r)
	run := sarifRun{
		Tool:        sarifTool{sarifDriver{Name: "jupyter-server-operator", Version: r.Version, Rules: rules}},
		Invocations: []sarifInvocation{{Successful: true}},
		Results:     []sarifResult{},
	}
	for _, s := range r.Servers {
		if s.Err != nil {
			run.Invocations[0].Successful = false
			run.Invocations[0].Notifications = append(run.Invocations[0].Notifications, s.sarifNotification())
			continue
		}
		run.Results = append(run.Results, s.sarifResults(rules)...)
	}
	return encode(out, sarifLog{Schema: sarifSchema, Version: "2.1.0", Runs: []sarifRun{run}})
}

// sarifRules returns the rules of the results, one for each ID.
func sarifRules(r Report) []sarifRule {
	rules := []sarifRule{}
	seen := map[string]bool{}
	for _, s := range r.Servers {
		for _, v := range s.Verdicts {
			if !seen[v.ID] {
				seen[v.ID] = true
				rules = append(rules, sarifRuleOf(v, r.Rules))
			}
		}
	}
	slices.SortFunc(rules, func(a, b sarifRule) int { return strings.Compare(a.ID, b.ID) })
	return rules
}

// sarifRuleOf merges the descriptions of the checks with one ID. Of a custom rule only the verdict is known.
func sarifRuleOf(v Verdict, catalog []policies.RuleInfo) sarifRule {
	var titles, descriptions, remediations []string
	rule := sarifRule{ID: v.ID}
	for _, info := range catalog {
		if info.ID != v.ID {
			continue
		}
		titles = append(titles, info.Title)
		descriptions = append(descriptions, info.Title+": "+info.Description)
		if !slices.Contains(remediations, info.Remediation) {
			remediations = append(remediations, info.Remediation)
		}
		rule.Default = &sarifConfiguration{sarifLevel(info.Severity)}
	}
	switch len(titles) {
	case 0:
		rule.Short, rule.Full = sarifText{inWords(v.ID)}, sarifText{"A custom rule."}
		remediations = []string{cmp.Or(v.Remediation, "Ask your administrator.")}
	case 1:
		rule.Short, rule.Full = sarifText{titles[0]}, sarifText{descriptions[0]}
	default:
		rule.Short, rule.Full = sarifText{inWords(v.ID)}, sarifText{strings.Join(descriptions, "\n")}
	}
	rule.Help = sarifText{strings.Join(remediations, "\n")}
	return rule
}

// inWords returns "Image tags" for image-tags.
func inWords(id string) string {
	return strings.ToUpper(id[:1]) + strings.ReplaceAll(id[1:], "-", " ")
}

func sarifLevel(severity policies.Severity) string {
	switch severity {
	case policies.Deny:
		return "error"
	case policies.Audit:
		return "note"
	case policies.Off:
		return "none"
	default:
		return "warning" // also for exempt verdicts, whose severity is not known
	}
}

func (s Server) sarifResults(rules []sarifRule) []sarifResult {
	var results []sarifResult
	seen := map[string]int{}
	for _, v := range s.Verdicts {
		// The message is not part of the key, so that another wrong value at the same path is the same finding.
		key := strings.Join([]string{s.Namespace, s.Name, v.ID, v.Path}, "\x00")
		seen[key]++
		results = append(results, sarifResult{
			RuleID:       v.ID,
			RuleIndex:    slices.IndexFunc(rules, func(rule sarifRule) bool { return rule.ID == v.ID }),
			Level:        sarifLevel(v.Severity),
			Message:      sarifMessage(v),
			Locations:    []sarifLocation{s.sarifLocation(v.Line, v.Path)},
			Fingerprints: map[string]string{"verdict/v1": digest(fmt.Sprintf("%s\x00%d", key, seen[key]))},
			Suppressions: suppressions(v),
		})
	}
	return results
}

func sarifMessage(v Verdict) sarifText {
	text := v.Message
	if v.Remediation != "" {
		text += ". " + v.Remediation
	}
	return withoutLinks(text)
}

// withoutLinks keeps the text of a spec from being shown as a link.
func withoutLinks(text string) sarifText { return sarifText{strings.ReplaceAll(text, "](", "] (")} }

func suppressions(v Verdict) []sarifSuppression {
	if v.Severity != policies.Exempt {
		return []sarifSuppression{}
	}
	return []sarifSuppression{{Kind: "external", Status: "accepted", Justification: v.Exemption}}
}

func (s Server) sarifNotification() sarifNotification {
	return sarifNotification{
		Level:     "error",
		Message:   withoutLinks(s.Title() + " could not be evaluated: " + s.Err.Error()),
		Locations: []sarifLocation{s.sarifLocation(s.Line, "")},
	}
}

func (s Server) sarifLocation(line int, path string) sarifLocation {
	var l sarifLocation
	if s.File != "" {
		l.Physical = &sarifPhysical{Artifact: sarifArtifact{fileURI(s.File)}}
		if line > 0 {
			l.Physical.Region = &sarifRegion{line}
		}
	}
	if s.Name != "" {
		l.Logical = []sarifLogical{logical(s, path)}
	}
	return l
}

// logical names a field of the server, or of one of its rendered objects.
func logical(s Server, path string) sarifLogical {
	object, field := "JupyterServer/"+s.Name, path
	if path != "" && unicode.IsUpper(rune(path[0])) { // a kind: fields start with a lower-case letter
		object, field, _ = strings.Cut(path, ": ")
	}
	object = s.Namespace + "/" + object
	if field == "" {
		return sarifLogical{Name: s.Name, QualifiedName: object, Kind: "resource"}
	}
	return sarifLogical{Name: field, QualifiedName: object + ": " + field, Kind: "member"}
}

// fileURI returns a relative URI for a relative file: tools resolve it against the repository.
func fileURI(file string) string {
	u := url.URL{Path: filepath.ToSlash(filepath.Clean(file))}
	if filepath.IsAbs(file) {
		u.Scheme = "file"
	}
	return u.String()
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
