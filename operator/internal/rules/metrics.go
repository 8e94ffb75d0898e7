// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"maps"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	acceptedDesc = prometheus.NewDesc("jupyterserver_policy_configmap_accepted",
		"Whether the current contents of a ConfigMap of rules are accepted (1) or rejected (0).", []string{"configmap"}, nil)
	refusalsDesc = prometheus.NewDesc("jupyterserver_policy_configmap_refusals_total",
		"Number of rejections of ConfigMaps of rules: one for each invalid change, and one whenever the errors of a ConfigMap change.", nil, nil)
	inForceDesc = prometheus.NewDesc("jupyterserver_policy_rules_in_force",
		"Whether policies are in force (1), or no server is changed until ConfigMaps of rules are fixed (0).", nil, nil)
	infoDesc = prometheus.NewDesc("jupyterserver_policy_rules_info",
		"The digest of the rules in force. It is the same on all replicas.", []string{"digest"}, nil)
)

// report is the state that other goroutines than that of Start may read.
type report struct {
	mu       sync.Mutex
	pending  error // before the first set
	accepted map[string]bool
	refusals int
	digest   string // of the names and contents of the files in force, empty if none are
}

func (r *report) setPending(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending = err
}

func (r *report) reason() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pending
}

func (r *report) use(digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.digest = digest
}

func (r *report) record(accepted map[string]bool, refusals int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.accepted = maps.Clone(accepted)
	r.refusals += refusals
}

// Describe implements prometheus.Collector.
func (l *Loader) Describe(out chan<- *prometheus.Desc) {
	out <- acceptedDesc
	out <- refusalsDesc
	out <- inForceDesc
	out <- infoDesc
}

// Collect implements prometheus.Collector.
func (l *Loader) Collect(out chan<- prometheus.Metric) {
	r := &l.report
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, accepted := range r.accepted {
		out <- prometheus.MustNewConstMetric(acceptedDesc, prometheus.GaugeValue, number(accepted), name)
	}
	out <- prometheus.MustNewConstMetric(refusalsDesc, prometheus.CounterValue, float64(r.refusals))
	out <- prometheus.MustNewConstMetric(inForceDesc, prometheus.GaugeValue, number(r.digest != ""))
	if r.digest != "" {
		out <- prometheus.MustNewConstMetric(infoDesc, prometheus.GaugeValue, 1, r.digest)
	}
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
