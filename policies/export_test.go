// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import "github.com/open-policy-agent/opa/v1/ast"

// InputSchema and Capabilities are what the rules are compiled with.
var (
	InputSchema  = inputSchema
	Capabilities = capabilities
)

// Value is the input as the rules see it, but for what is the same for all servers.
func (in Input) Value() (ast.Value, error) { return in.value(nil, nil) }
