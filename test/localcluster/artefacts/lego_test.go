// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package artefacts

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestCutToDefault(t *testing.T) {
	cases := map[string]struct {
		reason  string
		source  string
		want    string
		wantErr bool
	}{
		"Providers": {
			reason: "only the default case is kept, with its imports and without comments",
			source: `package dns

import (
	"fmt"

	"example.org/lego/challenge"
	"example.org/lego/providers/dns/alpha"
	own "example.org/lego/providers/dns/beta"
)

func ByName(name string) (challenge.Provider, error) {
	switch name {
	case "alpha", "a":
		return alpha.New()
	case "beta":
		return own.New()
	default:
		return nil, fmt.Errorf("unrecognized DNS provider: %s", name)
	}
}
`,
			want: `package dns

import (
	"fmt"

	"example.org/lego/challenge"
)

func ByName(name string) (challenge.Provider, error) {
	switch name {
	default:
		return nil, fmt.Errorf("unrecognized DNS provider: %s", name)
	}
}
`,
		},
		"NoSwitch": {
			reason:  "a file without the expected switch must be an error",
			source:  "package dns\n",
			wantErr: true,
		},
		"NotGo": {
			reason:  "an invalid file must be an error",
			source:  "<html>",
			wantErr: true,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := cutToDefault([]byte(tc.source))
			if (err != nil) != tc.wantErr {
				t.Fatalf("%s: got error %v", tc.reason, err)
			}
			if squeeze(string(got)) != squeeze(tc.want) {
				t.Errorf("%s: got\n%s\nwant\n%s", tc.reason, got, tc.want)
			}
		})
	}
}

func TestLegoIsTheOneThatTraefikPins(t *testing.T) {
	pins := string(read(t, filepath.Join("..", "components", "traefik", "go.mod")))
	if want := legoModule + " " + legoVersion + " => ./lego"; !strings.Contains(pins, want) {
		t.Errorf("the component must replace the cut version of lego: want %q in its go.mod", want)
	}
}

// squeeze removes empty lines, which the printer may leave at cuts.
func squeeze(text string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}
