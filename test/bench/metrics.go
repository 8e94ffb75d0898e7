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

// scrape is what a program said at /metrics.
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
		return nil, fmt.Errorf("reading metrics: %s answers %s", url, response.Status)
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

// sum adds up the counters and gauges of a name whose labels are as wanted.
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

// histogram is how many observations there were up to each bound, in the order of the bounds.
type histogram struct {
	bounds []float64
	counts []float64
	sum    float64
	count  float64
}

// histogram adds up the histograms of a name whose labels are as wanted. They have the same bounds.
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

// since is what was observed after an earlier scrape of the same process. There may have been no such histogram then.
func (h histogram) since(before histogram) histogram {
	out := histogram{bounds: h.bounds, counts: slices.Clone(h.counts), sum: h.sum - before.sum, count: h.count - before.count}
	for i, bound := range h.bounds {
		if j, ok := slices.BinarySearch(before.bounds, bound); ok {
			out.counts[i] -= before.counts[j]
		}
	}
	return out
}

// quantile is estimated as Prometheus does (promql/quantile.go, bucketQuantile): evenly spread within a bucket, and the last
// finite bound where it is beyond that. It is 0 where nothing was observed.
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

// mean is 0 where nothing was observed.
func (h histogram) mean() float64 {
	if h.count == 0 {
		return 0
	}
	return h.sum / h.count
}

// call is a kind of request to the API server.
type call struct {
	verb     string // as the API server's metrics say it: LIST, POST, APPLY
	resource string // with its subresource: jupyterservers/status
	dryRun   bool
}

func (c call) String() string {
	if c.dryRun {
		return c.verb + " " + c.resource + " (dry run)"
	}
	return c.verb + " " + c.resource
}

// writes says that the call changes something.
func (c call) writes() bool {
	return !c.dryRun && c.verb != "GET" && c.verb != "LIST" && c.verb != "WATCH"
}

// ours are the resources that the operator has to do with. What else the API server counts, it does by itself.
var ours = []string{
	"jupyterservers", "secrets", "statefulsets", "services", "ingresses", "networkpolicies", "persistentvolumeclaims", "configmaps",
	"pods", "events", "namespaces",
}

func callOf(metric *dto.Metric) (call, bool) {
	resource := label(metric, "resource")
	if !slices.Contains(ours, resource) {
		return call{}, false
	}
	if sub := label(metric, "subresource"); sub != "" {
		resource += "/" + sub
	}
	return call{verb: label(metric, "verb"), resource: resource, dryRun: label(metric, "dry_run") != ""}, true
}

// calls are the requests that an API server has answered so far, by everybody. A watch counts when it ends.
func (s scrape) calls() map[call]float64 {
	out := map[call]float64{}
	for _, metric := range s["apiserver_request_total"].GetMetric() {
		if c, ok := callOf(metric); ok {
			out[c] += metric.GetCounter().GetValue()
		}
	}
	return out
}

// without is the calls less others, where something is left.
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

// durations is how long the API server took, in seconds, for a kind of request in the mean. Dry runs are not told apart from
// others there.
func (s scrape) durations(c call) histogram {
	resource, sub, _ := strings.Cut(c.resource, "/")
	return s.histogram("apiserver_request_duration_seconds", map[string]string{"verb": c.verb, "resource": resource, "subresource": sub})
}
