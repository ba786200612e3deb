// Package schema holds every rendered object against the schema of its kind, by kubeconform: names of fields, types, and
// what is required. The schemas are files here, so that the check compiles little and fetches none of Kubernetes; what the
// API server's own code says beyond that is for the package above (`make manifests`). `make schemas` makes them anew.
package schema
