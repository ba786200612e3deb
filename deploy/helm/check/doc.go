// Package check renders the Helm chart by Helm's own library and holds it against the rendered Kustomize overlays, which
// deploy/kubernetes/check holds against Kubernetes's own code. It is a module of its own, so that whoever uses the worker's
// packages has no Helm among its dependencies.
package check
