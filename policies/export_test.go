// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import "github.com/open-policy-agent/opa/v1/ast"

// InputSchema and Capabilities configure the compiler of the rules.
var (
	InputSchema  = inputSchema
	Capabilities = capabilities
)

// Value returns the input of the rules without the settings.
func (in Input) Value() (ast.Value, error) { return in.value(nil, nil) }
