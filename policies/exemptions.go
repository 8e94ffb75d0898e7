// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// exemption is an Exemption with its compiled selector.
type exemption struct {
	Exemption
	selector labels.Selector // nil if servers are listed
}

func newExemptions(list []Exemption) ([]exemption, error) {
	out := make([]exemption, len(list))
	for i, e := range list {
		out[i] = exemption{Exemption: e}
		if e.Namespaces == nil {
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(e.Namespaces)
		if err != nil {
			return nil, fmt.Errorf("exemptions[%d].namespaces: %w", i, err)
		}
		out[i].selector = selector
	}
	return out, nil
}

func (e exemption) covers(in Input) bool {
	if e.selector != nil {
		return e.selector.Matches(labels.Set(in.Namespace.Labels))
	}
	return in.Object != nil && slices.Contains(e.Servers, in.Namespace.Name+"/"+in.Object.Name)
}

// exempt sets the severity of verdicts that an exemption covers to Exempt.
func (e *Evaluator) exempt(in Input, verdicts []Verdict) {
	for _, exemption := range e.exemptions {
		if !exemption.covers(in) {
			continue
		}
		for i, v := range verdicts {
			if v.Severity != Exempt && slices.Contains(exemption.Rules, v.ID) {
				verdicts[i].Severity, verdicts[i].Exemption = Exempt, exemption.Reason
			}
		}
	}
}
