// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// ConflictError means that an object of a needed name belongs to another owner. It is never touched.
type ConflictError struct{ Object string }

func (e *ConflictError) Error() string {
	return fmt.Sprintf("the %s already exists and was not created for this server", e.Object)
}

// TerminatingError means that an object of a deleted server of the same name is still being collected.
type TerminatingError struct{ Object string }

func (e *TerminatingError) Error() string {
	return fmt.Sprintf("the %s of a deleted server of this name is still being deleted", e.Object)
}

// ApplyError names the object that could not be written.
type ApplyError struct {
	Object string
	Err    error
}

func (e *ApplyError) Error() string { return fmt.Sprintf("applying the %s: %v", e.Object, e.Err) }

// Unwrap returns the error of the API server.
func (e *ApplyError) Unwrap() error { return e.Err }

// Rejected reports whether the API server rejected the object for its content, so that trying again soon is of no use. A
// field that does not exist comes back as an internal error
// (apimachinery/pkg/util/managedfields/internal/structuredmerge.go), which only its text identifies.
func (e *ApplyError) Rejected() bool {
	return apierrors.IsInvalid(e.Err) || apierrors.IsBadRequest(e.Err) || apierrors.IsForbidden(e.Err) ||
		apierrors.IsInternalError(e.Err) && strings.Contains(e.Err.Error(), "failed to create typed patch object")
}
