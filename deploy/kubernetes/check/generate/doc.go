// Package generate makes the schemas of package schema from the modules that go.mod pins: Kubernetes's OpenAPI document,
// KEDA's custom resource definition, and, since their module has no definition, the Prometheus operator's Go types.
package generate
