// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"strings"
	"testing"
)

func TestQuantileOfADifference(t *testing.T) {
	inf := math.Inf(1)
	earlier := histogram{bounds: []float64{1, 2, 4, inf}, counts: []float64{10, 10, 10, 10}, count: 10}
	tests := []struct {
		reason string
		after  histogram
		q      float64
		want   float64
	}{
		{"no new observations", earlier, 0.5, 0},
		{"linear within one bucket", histogram{bounds: earlier.bounds, counts: []float64{10, 20, 20, 20}, count: 20}, 0.5, 1.5},
		{"earlier observations do not count", histogram{bounds: earlier.bounds, counts: []float64{10, 10, 14, 14}, count: 14}, 0.99, 3.98},
		{"the first bucket starts at 0", histogram{bounds: earlier.bounds, counts: []float64{14, 14, 14, 14}, count: 14}, 0.5, 0.5},
		{"an empty bucket is skipped", histogram{bounds: earlier.bounds, counts: []float64{11, 11, 12, 12}, count: 12}, 0.75, 3},
		{"values beyond the last bound return that bound", histogram{bounds: earlier.bounds, counts: []float64{10, 10, 10, 14}, count: 14}, 0.5, 4},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			if got := test.after.since(earlier).quantile(test.q); math.Abs(got-test.want) > 1e-9 {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

func TestDifferenceFromNothing(t *testing.T) {
	after := histogram{bounds: []float64{1, math.Inf(1)}, counts: []float64{2, 3}, sum: 6, count: 3}
	got := after.since(histogram{})
	if got.count != 3 || got.counts[0] != 2 || got.mean() != 2 {
		t.Errorf("%+v", got)
	}
}

const exposition = `# TYPE apiserver_request_total counter
apiserver_request_total{code="201",component="apiserver",dry_run="",group="",resource="secrets",scope="resource",subresource="",verb="POST",version="v1"} 3
apiserver_request_total{code="409",component="apiserver",dry_run="",group="",resource="secrets",scope="resource",subresource="",verb="POST",version="v1"} 1
apiserver_request_total{code="200",component="apiserver",dry_run="All",group="apps",resource="statefulsets",scope="resource",subresource="",verb="APPLY",version="v1"} 2
apiserver_request_total{code="200",component="apiserver",dry_run="",group="jupyterserver.dev",resource="jupyterservers",scope="resource",subresource="status",verb="PATCH",version="v1alpha1"} 5
apiserver_request_total{code="200",component="apiserver",dry_run="",group="coordination.k8s.io",resource="leases",scope="resource",subresource="",verb="PUT",version="v1"} 7
# TYPE apiserver_request_duration_seconds histogram
apiserver_request_duration_seconds_bucket{component="apiserver",resource="secrets",scope="resource",subresource="",verb="POST",le="0.1"} 2
apiserver_request_duration_seconds_bucket{component="apiserver",resource="secrets",scope="resource",subresource="",verb="POST",le="+Inf"} 4
apiserver_request_duration_seconds_sum{component="apiserver",resource="secrets",scope="resource",subresource="",verb="POST"} 2
apiserver_request_duration_seconds_count{component="apiserver",resource="secrets",scope="resource",subresource="",verb="POST"} 4
`

func TestCalls(t *testing.T) {
	s, err := parse(strings.NewReader(exposition))
	if err != nil {
		t.Fatal(err)
	}
	driver := map[call]float64{{verb: "POST", resource: "secrets"}: 4}
	got := without(s.calls(), driver)
	want := map[call]float64{
		{verb: "APPLY", resource: "statefulsets", dryRun: true}: 2,
		{verb: "PATCH", resource: "jupyterservers/status"}:      5,
	}
	if len(got) != len(want) {
		t.Errorf("%v, want %v: calls of the driver and of the API server itself do not count", got, want)
	}
	for c, count := range want {
		if got[c] != count {
			t.Errorf("%s: %v, want %v", c, got[c], count)
		}
	}
	if took := s.durations(call{verb: "POST", resource: "secrets"}); took.mean() != 0.5 || took.count != 4 {
		t.Errorf("durations %+v", took)
	}
}

func TestCallsThatWrite(t *testing.T) {
	tests := []struct {
		reason string
		call   call
		want   bool
	}{
		{"an apply changes an object", call{verb: "APPLY"}, true},
		{"a dry run changes nothing", call{verb: "APPLY", dryRun: true}, false},
		{"a list reads", call{verb: "LIST"}, false},
		{"a watch reads", call{verb: "WATCH"}, false},
		{"a deletion changes an object", call{verb: "DELETE"}, true},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			if got := test.call.writes(); got != test.want {
				t.Errorf("%t, want %t", got, test.want)
			}
		})
	}
}
