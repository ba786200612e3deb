// Package check has the tests of what watches the workers: that every query of
// the alerts and the dashboard asks for metrics, labels and values that a worker
// really has, and that alerts, their tests and the runbook belong together.
//
// It is a module of its own, so that Prometheus's parser and Grafana's types are
// no dependencies of Lethe's. `make alerts` runs it.
package check
