package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// manifest is what is looked at of a Kubernetes object.
type manifest struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Data     map[string]string
	Spec     struct {
		Ports []struct {
			Port       int
			TargetPort any `yaml:"targetPort"`
		}
		Ingress             []struct{ Ports []struct{ Port any } }
		PodMetricsEndpoints []struct {
			Port, Path  string
			Relabelings []struct {
				TargetLabel string `yaml:"targetLabel"`
				Replacement string
			}
		} `yaml:"podMetricsEndpoints"`
		MaxReplicaCount int `yaml:"maxReplicaCount"`
		Triggers        []struct {
			Metadata struct{ Account, Stream, Consumer string }
		}
		Template struct {
			Spec struct {
				TerminationGracePeriodSeconds int `yaml:"terminationGracePeriodSeconds"`
				SecurityContext               struct {
					RunAsUser  int `yaml:"runAsUser"`
					RunAsGroup int `yaml:"runAsGroup"`
				} `yaml:"securityContext"`
				Containers []container
			}
		}
	}
}

type container struct {
	Name, Image   string
	Command, Args []string
	EnvFrom       []struct {
		ConfigMapRef struct{ Name string } `yaml:"configMapRef"`
	} `yaml:"envFrom"`
	Env []struct {
		Name, Value string
		ValueFrom   struct {
			SecretKeyRef struct{ Key string } `yaml:"secretKeyRef"`
		} `yaml:"valueFrom"`
	}
	Ports []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	LivenessProbe  probe `yaml:"livenessProbe"`
	ReadinessProbe probe `yaml:"readinessProbe"`
}

type probe struct {
	HTTPGet struct {
		Path string
		Port any
	} `yaml:"httpGet"`
}

// manifests are the objects of each variant, by the file that it is rendered to.
func manifests(t *testing.T) map[string][]manifest {
	t.Helper()
	files, err := filepath.Glob("../../deploy/kubernetes/rendered/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests, %v: run `make render`", err)
	}
	all := map[string][]manifest{}
	for _, file := range files {
		name := "rendered/" + filepath.Base(file)
		for d := yaml.NewDecoder(bytes.NewReader([]byte(readFile(t, file)))); ; {
			var m manifest
			if err := d.Decode(&m); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			all[name] = append(all[name], m)
		}
	}
	return all
}

// ofManifests are the containers of a variant, with who asks them. standard is what the image runs.
func ofManifests(t *testing.T, file string, objects []manifest, standard []string) (all []call) {
	t.Helper()
	// The quickstart brings other servers along, each in its namespace.
	objects = slices.DeleteFunc(slices.Clone(objects), func(m manifest) bool {
		return m.Metadata.Namespace == "nats" || m.Metadata.Namespace == "postgres"
	})
	for _, m := range objects {
		pod := m.Spec.Template.Spec
		for _, k := range pod.Containers {
			c := call{where: file + ", " + m.Kind + " " + m.Metadata.Name, args: k.Args}
			c.env = k.environment(t, c.where, objects)
			c.timeout = time.Duration(pod.TerminationGracePeriodSeconds) * time.Second
			c.user = fmt.Sprintf("%d:%d", pod.SecurityContext.RunAsUser, pod.SecurityContext.RunAsGroup)
			if len(c.args) == 0 {
				c.args = standard
			}
			if len(k.Command) > 0 || !strings.Contains(k.Image, "lethe/worker:") {
				t.Errorf("%s: it runs %v of %s; want the entry point of lethe/worker", c.where, k.Command, k.Image)
			}
			if c.args[0] == "run" {
				c.asks = k.asked(objects)
			}
			all = append(all, c)
		}
	}
	return all
}

// environment is what the container's variables come to.
func (k container) environment(t *testing.T, where string, objects []manifest) map[string]string {
	t.Helper()
	env := map[string]string{}
	for _, from := range k.EnvFrom {
		found := false
		for _, m := range objects {
			if m.Kind == "ConfigMap" && m.Metadata.Name == from.ConfigMapRef.Name {
				maps.Copy(env, m.Data)
				found = true
			}
		}
		if !found {
			t.Errorf("%s: there is no ConfigMap %q", where, from.ConfigMapRef.Name)
		}
	}
	for _, e := range k.Env {
		env[e.Name] = e.Value
		if key := e.ValueFrom.SecretKeyRef.Key; key != "" {
			env[e.Name] = secret[key]
		}
	}
	if plan := env["LETHE_PLAN"]; plan != "" { // mounted there from the component's file
		env["LETHE_PLAN"] = filepath.Join("../../deploy/kubernetes/components/plan", filepath.Base(plan))
	}
	return env
}

// asked are those who ask the container: the probes, and from outside service, policy and monitor.
func (k container) asked(objects []manifest) (all []ask) {
	named := map[string]int{}
	for _, p := range k.Ports {
		named[p.Name] = p.ContainerPort
		all = append(all, ask{"containerPort " + p.Name, "/readyz", p.ContainerPort})
	}
	for who, p := range map[string]probe{"livenessProbe": k.LivenessProbe, "readinessProbe": k.ReadinessProbe} {
		all = append(all, ask{who, p.HTTPGet.Path, number(p.HTTPGet.Port, named)})
	}
	for _, m := range objects {
		for _, p := range m.Spec.Ports {
			all = append(all, ask{m.Kind, "/metrics", number(p.TargetPort, named)}, ask{m.Kind + "'s port", "/metrics", p.Port})
		}
		for _, in := range m.Spec.Ingress {
			for _, p := range in.Ports {
				all = append(all, ask{m.Kind, "/metrics", number(p.Port, named)})
			}
		}
		for _, p := range m.Spec.PodMetricsEndpoints {
			all = append(all, ask{m.Kind, p.Path, named[p.Port]})
		}
	}
	return all
}

// number is a port that is given by number or by name; 0 for a name that there isn't.
func number(port any, named map[string]int) int {
	if name, ok := port.(string); ok {
		return named[name]
	}
	n, _ := strconv.Atoi(fmt.Sprint(port)) // 0 for none
	return n
}
