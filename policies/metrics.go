// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the metrics of evaluators. They can be shared by successive evaluators.
type Metrics struct {
	mu    sync.Mutex
	names map[string]bool // rules with their own label value

	decisions   *prometheus.CounterVec
	evaluations *prometheus.HistogramVec
}

// NewMetrics returns unregistered metrics.
func NewMetrics() *Metrics {
	return &Metrics{
		names: map[string]bool{},
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jupyterserver_policy_decisions_total",
			Help: "Verdicts of all evaluations, by rule and severity (deny, warn, audit, exempt).",
		}, []string{"rule", "severity"}),
		evaluations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "jupyterserver_policy_evaluation_seconds",
			Help:    "Duration of evaluations in seconds, by result (allowed, denied, error).",
			Buckets: []float64{.0002, .0005, .001, .002, .005, .01, .05, .1, .5, 1},
		}, []string{"result"}),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	m.decisions.Describe(out)
	m.evaluations.Describe(out)
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	m.decisions.Collect(out)
	m.evaluations.Collect(out)
}

func (m *Metrics) observe(result Result, err error, took time.Duration) {
	if m == nil {
		return
	}
	outcome := "allowed"
	switch {
	case err != nil:
		outcome = "error"
	case result.Denied():
		outcome = "denied"
	}
	m.evaluations.WithLabelValues(outcome).Observe(took.Seconds())
	for _, v := range result.Verdicts {
		m.decisions.WithLabelValues(m.name(v.ID), string(v.Severity)).Inc()
	}
}

// maxRuleNames bounds the label values, because a custom rule could derive its ID from the input.
const maxRuleNames = 200

// name returns the ID of a rule, or "others" beyond maxRuleNames.
func (m *Metrics) name(id string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.names) < maxRuleNames {
		m.names[id] = true
	}
	if !m.names[id] {
		return "others"
	}
	return id
}
