// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"errors"

	"sigs.k8s.io/json"
)

// The schema of the CRD lets pass what Go's types do not take, such as a port of 99999999999 or the quantity 1e1.5 in a
// container. A list of which one object cannot be decoded fails as a whole, and with it the informer: one object would
// stop the operator for the whole cluster. So decoding never fails: a spec that cannot be read says so itself.

// UnmarshalJSON decodes a spec, or keeps why it cannot. What must hold in any case is read nevertheless: that the pod is to be stopped,
// and that the files are to stay.
func (s *JupyterServerSpec) UnmarshalJSON(raw []byte) error {
	type plain JupyterServerSpec
	var decoded plain
	if err := json.UnmarshalCaseSensitivePreserveInts(raw, &decoded); err != nil {
		decoded = plain{unreadable: err.Error()}
		var part struct {
			Suspend bool `json:"suspend"`
			Storage struct {
				Retain bool `json:"retain"`
			} `json:"storage"`
		}
		if json.UnmarshalCaseSensitivePreserveInts(raw, &part) == nil {
			decoded.Suspend, decoded.Storage.Retain = part.Suspend, part.Storage.Retain
		}
	}
	*s = JupyterServerSpec(decoded)
	return nil
}

// Unreadable says why the spec could not be decoded. It is nil for a spec that was.
func (s *JupyterServerSpec) Unreadable() error {
	if s.unreadable == "" {
		return nil
	}
	return errors.New(s.unreadable)
}

// UnmarshalJSON decodes a status. One that cannot be read was not written by the operator, which writes it anew.
func (s *JupyterServerStatus) UnmarshalJSON(raw []byte) error {
	type plain JupyterServerStatus
	var decoded plain
	if err := json.UnmarshalCaseSensitivePreserveInts(raw, &decoded); err != nil {
		decoded = plain{}
	}
	*s = JupyterServerStatus(decoded)
	return nil
}
