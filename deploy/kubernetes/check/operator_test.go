package check

import (
	"encoding/json"
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// ../operator lays operator.json over the pod that `kubectl run` makes of a name, an image and words.
func TestThePodOfTheOperatorIsTaken(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../operator.json")
	if err != nil {
		t.Fatal(err)
	}
	var pod corev1.Pod
	if err := json.Unmarshal(data, &pod); err != nil {
		t.Fatal(err)
	}
	pod.APIVersion, pod.Kind, pod.Name, pod.Namespace = "v1", "Pod", "lethe-operator-1", "lethe"
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	main := &pod.Spec.Containers[0]
	main.Name, main.Image, main.Args = pod.Name, "lethe/worker:local", []string{"dead-letters", "list"}
	text, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	if told, err := create(text); err != nil || len(told) > 0 {
		t.Errorf("%v, %v; want a pod that a server takes without a word", told, err)
	}
	for _, fault := range append(forbidden(t, pod.ObjectMeta, pod.Spec), excess(pod.Spec)...) {
		t.Error(fault)
	}
}
