// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// ConflictError says that an object of a needed name belongs to somebody else. It is never touched.
type ConflictError struct{ Object string }

func (e *ConflictError) Error() string {
	return fmt.Sprintf("the %s exists already and was not made for this server", e.Object)
}

// RecordConflictError says that a Helm release of the name belongs to somebody else. It is never touched.
type RecordConflictError struct{ Name string }

func (e *RecordConflictError) Error() string {
	return fmt.Sprintf("a Helm release %s exists already in the namespace and was not made for this server", e.Name)
}

// TerminatingError says that an object of an earlier server of the same name is still being deleted.
type TerminatingError struct{ Object string }

func (e *TerminatingError) Error() string {
	return fmt.Sprintf("the %s of an earlier server of this name is still being deleted", e.Object)
}

// ApplyError says which object could not be applied, and why.
type ApplyError struct {
	Object string
	Err    error
}

func (e *ApplyError) Error() string { return fmt.Sprintf("applying the %s: %v", e.Object, e.Err) }

// Unwrap returns what the API server said.
func (e *ApplyError) Unwrap() error { return e.Err }

// Refused says whether the API server refused the object for what it is, so that trying again soon is of no use. A field
// that does not exist comes back as an internal error (apimachinery/pkg/util/managedfields/internal/structuredmerge.go).
func (e *ApplyError) Refused() bool {
	return apierrors.IsInvalid(e.Err) || apierrors.IsBadRequest(e.Err) || apierrors.IsForbidden(e.Err) ||
		strings.Contains(e.Err.Error(), "failed to create typed patch object")
}
