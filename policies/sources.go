package policies

import (
	"fmt"
	"strings"
)

// Source is one file of the admin's own rules: a module of Rego (NAME.rego), its tests (NAME_test.rego), or data (.yaml, .yml
// or .json), whose content becomes part of the document data.
type Source struct {
	// Name says where the text comes from, for messages: "team-rules/labels.rego". Its ending says what it is.
	Name string
	// Text is the content.
	Text string
}

// SourceError is a mistake in a Source.
type SourceError struct {
	// Source is the name of the Source.
	Source string
	// Line counts from 1. 0: the whole of it is meant.
	Line int
	// Message says what is wrong.
	Message string
}

// Error implements error.
func (e *SourceError) Error() string {
	if e.Line == 0 {
		return e.Source + ": " + e.Message
	}
	return fmt.Sprintf("%s:%d: %s", e.Source, e.Line, e.Message)
}

// SourceErrors are all mistakes in the Sources that were found at once. There is at least one.
type SourceErrors []*SourceError

// Error implements error.
func (e SourceErrors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "; ")
}
