// Package check holds the manifests, as package render renders them, against what a cluster would say of them: the
// Kubernetes API server's own decoding and validation, KEDA's custom resource definition, the types of the Prometheus
// operator, and the strictest Pod Security Standard. It is a module of its own, so that whoever uses the worker's
// packages has none of that among its dependencies. Package schema is the short form of the check, which compiles little.
package check
