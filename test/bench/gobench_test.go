// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func TestReadBenchmarks(t *testing.T) {
	got := readBenchmarks(`goos: linux
pkg: example.org/render
BenchmarkRender/oidc-2         	     100	   3000000 ns/op	  1000 B/op	      10 allocs/op
BenchmarkRender/oidc-2         	     100	   1000000 ns/op	  1000 B/op	      10 allocs/op
BenchmarkRender/oidc-2         	     100	   9000000 ns/op	  1000 B/op	      12 allocs/op
BenchmarkEvaluate/oidc-patched 	     100	   2000000 ns/op	  1500 p99-µs	     1 B/op	      1 allocs/op
PASS
ok  	example.org/render	1.2s
`)
	if len(got) != 2 {
		t.Fatalf("%+v", got)
	}
	if r := got[0]; r.Name != "Render/oidc" || r.Runs != 3 || r.Values["ns/op"] != 3e6 || r.Values["allocs/op"] != 10 {
		t.Errorf("%+v, want the median of three", r)
	}
	if e := got[1]; e.Name != "Evaluate/oidc-patched" || e.Values["p99-µs"] != 1500 {
		t.Errorf("%+v: a name can end in something other than a number", e)
	}
}
