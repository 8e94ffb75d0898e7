// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package release

import "github.com/prometheus/client_golang/prometheus"

// Metrics count repairs of objects, and the objects that another client keeps changing. A nil Metrics counts nothing.
type Metrics struct {
	repairs   *prometheus.CounterVec
	conflicts prometheus.Gauge
}

// NewMetrics returns metrics that are not registered yet.
func NewMetrics() *Metrics {
	return &Metrics{
		repairs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jupyterserver_drift_repairs_total",
			Help: "Objects of servers that were reverted or pruned because another client had changed, deleted or created them, by kind.",
		}, []string{"kind"}),
		conflicts: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "jupyterserver_contested_objects",
			Help: "Objects of servers that another client keeps changing, so that the operator backs off before reverting them.",
		}),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	m.repairs.Describe(out)
	m.conflicts.Describe(out)
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	m.repairs.Collect(out)
	m.conflicts.Collect(out)
}

func (m *Metrics) repaired(kind string) {
	if m != nil {
		m.repairs.WithLabelValues(kind).Inc()
	}
}

// conflict adds to the objects that another client keeps changing.
func (m *Metrics) conflict(change int) {
	if m != nil {
		m.conflicts.Add(float64(change))
	}
}
