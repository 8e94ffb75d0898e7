// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import "github.com/prometheus/client_golang/prometheus"

// Metrics tell how often objects are put back, and over how many there is a fight. A nil Metrics counts nothing.
type Metrics struct {
	repairs  *prometheus.CounterVec
	contests prometheus.Gauge
}

// NewMetrics returns metrics that are still to be registered.
func NewMetrics() *Metrics {
	return &Metrics{
		repairs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jupyterserver_drift_repairs_total",
			Help: "Objects of servers that were put back, or removed again, because somebody else had changed, deleted or made them, by kind.",
		}, []string{"kind"}),
		contests: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "jupyterserver_contested_objects",
			Help: "Objects of servers that somebody else changes again and again, so that the operator waits before it puts them back.",
		}),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	m.repairs.Describe(out)
	m.contests.Describe(out)
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	m.repairs.Collect(out)
	m.contests.Collect(out)
}

func (m *Metrics) repaired(kind string) {
	if m != nil {
		m.repairs.WithLabelValues(kind).Inc()
	}
}

func (m *Metrics) contested(change float64) {
	if m != nil {
		m.contests.Add(change)
	}
}
