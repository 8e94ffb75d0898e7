// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// scrape is the parsed response of /metrics.
type scrape map[string]*dto.MetricFamily

func scrapeFrom(ctx context.Context, client *http.Client, url string) (scrape, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("reading metrics: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("reading metrics: %s returned %s", url, response.Status)
	}
	return parse(response.Body)
}

func parse(text io.Reader) (scrape, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return nil, fmt.Errorf("parsing metrics: %w", err)
	}
	return families, nil
}

// sum adds up the counters and gauges with a name and labels.
func (s scrape) sum(name string, labels map[string]string) float64 {
	var total float64
	for _, metric := range s[name].GetMetric() {
		if matches(metric, labels) {
			total += metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + metric.GetUntyped().GetValue()
		}
	}
	return total
}

func matches(metric *dto.Metric, labels map[string]string) bool {
	found := 0
	for _, pair := range metric.GetLabel() {
		if want, ok := labels[pair.GetName()]; ok && want == pair.GetValue() {
			found++
		}
	}
	return found == len(labels)
}

func label(metric *dto.Metric, name string) string {
	for _, pair := range metric.GetLabel() {
		if pair.GetName() == name {
			return pair.GetValue()
		}
	}
	return ""
}

// histogram holds cumulative counts by upper bound, in order.
type histogram struct {
	bounds []float64
	counts []float64
	sum    float64
	count  float64
}

// histogram adds up the histograms with a name and labels, which have the same bounds.
func (s scrape) histogram(name string, labels map[string]string) histogram {
	upTo := map[float64]float64{}
	var out histogram
	for _, metric := range s[name].GetMetric() {
		if !matches(metric, labels) {
			continue
		}
		out.sum += metric.GetHistogram().GetSampleSum()
		out.count += float64(metric.GetHistogram().GetSampleCount())
		for _, bucket := range metric.GetHistogram().GetBucket() {
			upTo[bucket.GetUpperBound()] += float64(bucket.GetCumulativeCount())
		}
	}
	out.bounds = slices.Sorted(maps.Keys(upTo))
	for _, bound := range out.bounds {
		out.counts = append(out.counts, upTo[bound])
	}
	return out
}

// since returns the observations after an earlier scrape of the same process, which may not have had the histogram yet.
func (h histogram) since(before histogram) histogram {
	out := histogram{bounds: h.bounds, counts: slices.Clone(h.counts), sum: h.sum - before.sum, count: h.count - before.count}
	for i, bound := range h.bounds {
		if j, ok := slices.BinarySearch(before.bounds, bound); ok {
			out.counts[i] -= before.counts[j]
		}
	}
	return out
}

// quantile is estimated like in Prometheus (promql/quantile.go, bucketQuantile): linearly within a bucket, and at most the last
// finite bound. It is 0 without observations.
func (h histogram) quantile(q float64) float64 {
	if h.count == 0 {
		return 0
	}
	rank := q * h.count
	below, lower := 0.0, 0.0
	for i, bound := range h.bounds {
		if h.counts[i] >= rank && h.counts[i] > below {
			if math.IsInf(bound, 1) {
				return lower
			}
			return lower + (bound-lower)*(rank-below)/(h.counts[i]-below)
		}
		below = h.counts[i]
		if !math.IsInf(bound, 1) {
			lower = bound
		}
	}
	return lower
}

// mean is 0 without observations.
func (h histogram) mean() float64 {
	if h.count == 0 {
		return 0
	}
	return h.sum / h.count
}

// call is a kind of request to the API server.
type call struct {
	verb     string // as in the API server's metrics: LIST, POST, APPLY
	resource string // including the subresource: jupyterservers/status
	dryRun   bool
}

func (c call) String() string {
	if c.dryRun {
		return c.verb + " " + c.resource + " (dry run)"
	}
	return c.verb + " " + c.resource
}

// writes reports whether the call changes an object.
func (c call) writes() bool {
	return !c.dryRun && c.verb != "GET" && c.verb != "LIST" && c.verb != "WATCH"
}

// measuredResources are the resources that the operator uses. The API server's own requests for others are ignored.
var measuredResources = []string{
	"jupyterservers", "secrets", "statefulsets", "services", "ingresses", "networkpolicies", "persistentvolumeclaims", "configmaps",
	"pods", "events", "namespaces",
}

func callOf(metric *dto.Metric) (call, bool) {
	resource := label(metric, "resource")
	if !slices.Contains(measuredResources, resource) {
		return call{}, false
	}
	if sub := label(metric, "subresource"); sub != "" {
		resource += "/" + sub
	}
	return call{verb: label(metric, "verb"), resource: resource, dryRun: label(metric, "dry_run") != ""}, true
}

// calls returns the requests of all clients that an API server has answered so far. A watch counts when it ends.
func (s scrape) calls() map[call]float64 {
	out := map[call]float64{}
	for _, metric := range s["apiserver_request_total"].GetMetric() {
		if c, ok := callOf(metric); ok {
			out[c] += metric.GetCounter().GetValue()
		}
	}
	return out
}

// without subtracts calls and omits those without remainder.
func without(calls map[call]float64, others ...map[call]float64) map[call]float64 {
	out := maps.Clone(calls)
	for _, other := range others {
		for c, count := range other {
			out[c] -= count
		}
	}
	maps.DeleteFunc(out, func(_ call, count float64) bool { return count == 0 })
	return out
}

// durations returns the response times of the API server for a kind of request, in seconds. Its metrics do not distinguish dry
// runs.
func (s scrape) durations(c call) histogram {
	resource, sub, _ := strings.Cut(c.resource, "/")
	return s.histogram("apiserver_request_duration_seconds", map[string]string{"verb": c.verb, "resource": resource, "subresource": sub})
}
