package check

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// podOf returns the template of an object that makes pods; nil for others.
func podOf(t *testing.T, o object) *corev1.PodTemplateSpec {
	t.Helper()
	var deployment appsv1.Deployment
	var job batchv1.Job
	var into any
	var template *corev1.PodTemplateSpec
	switch o.GetKind() {
	case "Deployment":
		into, template = &deployment, &deployment.Spec.Template
	case "Job":
		into, template = &job, &job.Spec.Template
	default:
		return nil
	}
	if err := yaml.Unmarshal(o.text, into); err != nil {
		t.Fatal(err)
	}
	return template
}

func TestPodsKeepToTheRestrictedStandardAndToLess(t *testing.T) {
	t.Parallel()
	pods := 0
	objects(t, func(variant string, o object) {
		pod := podOf(t, o)
		if pod == nil {
			return
		}
		pods++
		faults := forbidden(t, pod.ObjectMeta, pod.Spec)
		if pod.Labels["app.kubernetes.io/name"] == "lethe" {
			faults = append(faults, excess(pod.Spec)...)
		}
		for _, fault := range faults {
			t.Errorf("%s, %s: %s", variant, o.name(), fault)
		}
	})
	if all := byVariant(t); pods != 2*len(all)+2 {
		t.Errorf("%d pods in %d variants; want a worker and a setup in each, and the quickstart's servers", pods, len(all))
	}
}

// onOpenShift says whether a variant has the component for it.
func onOpenShift(variant string) bool { return strings.HasSuffix(variant, "-openshift") }

// OpenShift's restricted-v2 gives a pod the user and the groups of its namespace, and refuses any other.
func TestPodsPinTheirUserExceptOnOpenShift(t *testing.T) {
	t.Parallel()
	free := 0
	objects(t, func(variant string, o object) {
		pod := podOf(t, o)
		if pod == nil || pod.Labels["app.kubernetes.io/name"] != "lethe" {
			return
		}
		all := []bool{pod.Spec.SecurityContext.RunAsUser != nil, pod.Spec.SecurityContext.RunAsGroup != nil, pod.Spec.SecurityContext.FSGroup != nil}
		for _, c := range pod.Spec.Containers {
			all[0], all[1] = all[0] || c.SecurityContext.RunAsUser != nil, all[1] || c.SecurityContext.RunAsGroup != nil
		}
		want := []bool{true, true, false}
		if onOpenShift(variant) {
			free++
			want = []bool{false, false, false}
		}
		if !slices.Equal(all, want) {
			t.Errorf("%s, %s: it pins user, group, group of files: %v; want %v", variant, o.name(), all, want)
		}
	})
	if free != 2 {
		t.Errorf("%d pods for OpenShift; want a worker and a setup", free)
	}
}

// forbidden is what the restricted standard has against a pod.
func forbidden(t *testing.T, m metav1.ObjectMeta, pod corev1.PodSpec) (all []string) {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for _, result := range evaluator.EvaluatePod(restricted, &m, &pod) {
		if !result.Allowed {
			all = append(all, result.ForbiddenReason+": "+result.ForbiddenDetail)
		}
	}
	return all
}

// excess is what a pod has beyond its need and the standard doesn't forbid.
func excess(pod corev1.PodSpec) []string {
	var all []string
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		all = append(all, "it has a token of its service account")
	}
	if pod.ServiceAccountName == "" || pod.ServiceAccountName == "default" {
		all = append(all, "it has no service account of its own")
	}
	if pod.EnableServiceLinks == nil || *pod.EnableServiceLinks {
		all = append(all, "services of the namespace get into its environment")
	}
	for _, c := range pod.Containers {
		if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
			all = append(all, c.Name+" may write to its root")
		}
		if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
			all = append(all, c.Name+" has no request of CPU and memory, or no limit of memory")
		}
	}
	return all
}
