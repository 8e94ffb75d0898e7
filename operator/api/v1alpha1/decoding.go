// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"errors"

	"sigs.k8s.io/json"
)

// The schema of the CRD accepts values that Go's types reject, such as a port of 99999999999 or the quantity 1e1.5 in a
// container. A list fails as a whole if one object cannot be decoded, and with it the informer: one object would stop the
// operator for the whole cluster. So decoding never fails; Unreadable returns the error instead.

// UnmarshalJSON decodes a spec, or records why it cannot. suspend and storage.retain are read in any case, so that the pod can
// still be stopped and the files are kept.
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

// Unreadable returns the error of a spec that could not be decoded, or nil.
func (s *JupyterServerSpec) Unreadable() error {
	if s.unreadable == "" {
		return nil
	}
	return errors.New(s.unreadable)
}

// UnmarshalJSON decodes a status. An unreadable one was not written by the operator, which overwrites it.
func (s *JupyterServerStatus) UnmarshalJSON(raw []byte) error {
	type plain JupyterServerStatus
	var decoded plain
	if err := json.UnmarshalCaseSensitivePreserveInts(raw, &decoded); err != nil {
		decoded = plain{}
	}
	*s = JupyterServerStatus(decoded)
	return nil
}
