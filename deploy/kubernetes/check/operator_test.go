package check

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// ../operator lays operator.json over the pod that `kubectl run` makes of a name, an image and words, and ../setup-app the
// other.
func TestThePodsOfTheScriptsAreTaken(t *testing.T) {
	t.Parallel()
	for file, words := range map[string][]string{
		"../operator.json":  {"dead-letters", "list"},
		"../setup-app.json": {"setup-app", "--app", "demo"},
	} {
		podIsTaken(t, file, words)
	}
}

func podIsTaken(t *testing.T, file string, words []string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data = []byte(strings.ReplaceAll(string(data), "SECRET", "lethe-app-demo"))
	var pod corev1.Pod
	if err := json.Unmarshal(data, &pod); err != nil {
		t.Fatal(err)
	}
	pod.APIVersion, pod.Kind, pod.Name, pod.Namespace = "v1", "Pod", "lethe-operator-1", "lethe"
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	main := &pod.Spec.Containers[0]
	main.Name, main.Image, main.Args = pod.Name, "lethe/worker:local", words
	text, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	if told, err := create(text); err != nil || len(told) > 0 {
		t.Errorf("%s: %v, %v; want a pod that a server takes without a word", file, told, err)
	}
	for _, fault := range append(forbidden(t, pod.ObjectMeta, pod.Spec), excess(pod.Spec)...) {
		t.Errorf("%s: %v", file, fault)
	}
}
