// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics tell what evaluators do. One may serve several evaluators, one after the other.
type Metrics struct {
	mu    sync.Mutex
	names map[string]bool // the rules that are told apart

	decisions   *prometheus.CounterVec
	evaluations *prometheus.HistogramVec
}

// NewMetrics returns metrics that are still to be registered.
func NewMetrics() *Metrics {
	return &Metrics{
		names: map[string]bool{},
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jupyterserver_policy_decisions_total",
			Help: "Verdicts of all evaluations, by rule and severity (deny, warn, audit, exempt).",
		}, []string{"rule", "severity"}),
		evaluations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "jupyterserver_policy_evaluation_seconds",
			Help:    "How long evaluations took, by what came of them (allowed, denied, error).",
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

// maxNames is how many rules are told apart. A rule of an admin's could make ids of what it is given.
const maxNames = 200

// name is the id of a rule, or what stands for all beyond those that are told apart.
func (m *Metrics) name(id string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.names) < maxNames {
		m.names[id] = true
	}
	if !m.names[id] {
		return "others"
	}
	return id
}
