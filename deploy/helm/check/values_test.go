package check

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// parsed reads values as a file has them.
func parsed(t *testing.T, text string) object {
	t.Helper()
	var values object
	if err := yaml.UnmarshalStrict([]byte(text), &values); err != nil {
		t.Fatal(err)
	}
	return values
}

// A Job can't be changed: whatever changes what it says must change its name, and nothing else should make another Job.
func TestTheSetupIsAnotherJobWhenItSaysSomethingElse(t *testing.T) {
	t.Parallel()
	before, _ := setupOf(t, render(t, "lethe", nil))
	for text, changes := range map[string]bool{
		"image: {tag: v9.9.9}":                                       true,
		"setup: {settings: {LETHE_STREAM_REPLICAS: 3}}":              true,
		"setup: {secret: other}":                                     true,
		"shard: a":                                                   true,
		"subjectPrefix: a":                                           true,
		"openshift: true":                                            true,
		"extraPodSpec: {priorityClassName: high}":                    true,
		"worker: {replicas: 5, settings: {LOG_FORMAT: text}}":        false,
		"keda: {enabled: true}":                                      false,
		"tracing: {endpoint: \"http://collector.tracing.svc:4318\"}": false,
	} {
		if after, _ := setupOf(t, render(t, "lethe", parsed(t, text))); (after != before) != changes {
			t.Errorf("%s: the Job is %s, and was %s; want another one: %v", text, after, before, changes)
		}
	}
}

func TestAChangedSettingRollsTheWorkers(t *testing.T) {
	t.Parallel()
	digest := func(text string) any {
		return at(render(t, "lethe", parsed(t, text))["Deployment/lethe-worker"], "spec", "template", "metadata", "annotations", "checksum/settings")
	}
	before := digest("{}")
	for text, rolls := range map[string]bool{
		"worker: {settings: {LOG_FORMAT: text}}": true,
		"worker: {settings: {LOG_FORMAT: null}}": true,
		"plan: 'messages: {table: posts}'":       true,
		"shard: a":                               true,
		"subjectPrefix: a":                       true,
		"worker: {replicas: 5}":                  false,
		"setup: {settings: {LETHE_TIMEOUT: 2m}}": false,
	} {
		if after := digest(text); (after != before) != rolls {
			t.Errorf("%s: rolls the workers: %v; want %v", text, !rolls, rolls)
		}
	}
}

// What isn't in the overlays.
func TestOtherValuesArriveWhereTheyShould(t *testing.T) {
	t.Parallel()
	all := render(t, "lethe", parsed(t, `
image: {repository: registry.example.com/worker, tag: v1.2.3, pullPolicy: Always}
plan: "messages: {table: posts}"
shard: eu-1
subjectPrefix: Acme.chat-1
network:
  dns: {to: [{ipBlock: {cidr: 169.254.20.10/32}}], ports: [{protocol: UDP, port: 53}]}
  postgres: {to: [{ipBlock: {cidr: 192.0.2.10/32}}]}
  more: [{to: [{ipBlock: {cidr: 192.0.2.20/32}}], ports: [{protocol: TCP, port: 443}]}]
  scrapeFrom: [{podSelector: {matchLabels: {app: prometheus}}}]
keda: {enabled: true, lagThreshold: 100000000}
podMonitor: {enabled: true, labels: {release: prometheus}}
extraEnv: [{name: SSL_CERT_FILE, value: /certs/ca.crt}]
extraVolumes: [{name: certs, secret: {secretName: certs}}]
extraVolumeMounts: [{name: certs, mountPath: /certs}]
extraPodSpec: {imagePullSecrets: [{name: registry}], nodeSelector: {pool: work}}
`))
	_, setup := setupOf(t, all)
	worker := all["Deployment/lethe-worker"]
	pod := func(o object) object { return at(o, "spec", "template", "spec").(object) }
	container := func(o object) object { return pod(o)["containers"].([]any)[0].(object) }
	egress := at(all["NetworkPolicy/lethe"], "spec", "egress").([]any)
	scaler := at(all["ScaledObject/lethe-worker"], "spec", "triggers").([]any)[0].(object)
	for what, row := range map[string]struct{ got, want any }{
		"the worker's image":  {container(worker)["image"], "registry.example.com/worker:v1.2.3"},
		"the setup's pull":    {container(setup)["imagePullPolicy"], "Always"},
		"the worker's env":    {container(worker)["env"].([]any)[2], object{"name": "SSL_CERT_FILE", "value": "/certs/ca.crt"}},
		"the setup's env":     {container(setup)["env"].([]any)[2], object{"name": "SSL_CERT_FILE", "value": "/certs/ca.crt"}},
		"the worker's mount":  {container(worker)["volumeMounts"].([]any)[1], object{"name": "certs", "mountPath": "/certs"}},
		"the setup's mount":   {container(setup)["volumeMounts"].([]any)[0], object{"name": "certs", "mountPath": "/certs"}},
		"the worker's volume": {pod(worker)["volumes"].([]any)[1], object{"name": "certs", "secret": object{"secretName": "certs"}}},
		"the setup's volume":  {pod(setup)["volumes"].([]any)[0], object{"name": "certs", "secret": object{"secretName": "certs"}}},
		"the worker's node":   {pod(worker)["nodeSelector"], object{"pool": "work"}},
		"the setup's pulls":   {pod(setup)["imagePullSecrets"], []any{object{"name": "registry"}}},
		"the rule of DNS":     {at(egress[0].(object), "to").([]any)[0], object{"ipBlock": object{"cidr": "169.254.20.10/32"}}},
		"the rule of NATS":    {at(egress[1].(object), "ports").([]any)[0].(object)["port"], 4222.0},
		"where Postgres is":   {at(egress[2].(object), "to").([]any)[0], object{"ipBlock": object{"cidr": "192.0.2.10/32"}}},
		"Postgres's port":     {at(egress[2].(object), "ports").([]any)[0].(object)["port"], 5432.0},
		"the rule more":       {at(egress[3].(object), "ports").([]any)[0].(object)["port"], 443.0},
		"who scrapes":         {at(all["NetworkPolicy/lethe-scrape"], "spec", "ingress").([]any)[0].(object)["from"], []any{object{"podSelector": object{"matchLabels": object{"app": "prometheus"}}}}},
		"the monitor's label": {at(all["PodMonitor/lethe-worker"], "metadata", "labels", "release"), "prometheus"},
		"the stream":          {at(scaler, "metadata", "stream"), "ACME_CHAT_1_CONVERSATION_COMMANDS_EU_1"},
		"the consumer":        {at(scaler, "metadata", "consumer"), "Acme_chat-1_deletion-worker"},
		"a large threshold":   {at(scaler, "metadata", "lagThreshold"), "100000000"},
	} {
		if d := differences("", row.want, row.got); len(d) > 0 {
			t.Errorf("%s%s", what, d[0])
		}
	}
	if closed := render(t, "lethe", parsed(t, "network: {enabled: false}")); closed["NetworkPolicy/lethe"] != nil || closed["NetworkPolicy/lethe-scrape"] != nil {
		t.Error("network.enabled: false leaves policies")
	}
}

// YAML takes 8388608, 0123 and 1e3 for numbers, of which a template would write the first as 8.388608e+06, and takes true for
// no text: what Kubernetes and the worker want is text as somebody wrote it.
func TestWordsThatLookLikeNumbersStayWhatTheyAre(t *testing.T) {
	t.Parallel()
	all := render(t, "lethe", parsed(t, `
worker: {secret: "123", settings: {LETHE_LONG_BATCH: 1000000, LETHE_SHARE: 0.25, LETHE_SWITCH: true, LETHE_TEXT: "a\n\"b\" {{ c }} é"}}
setup: {secret: "1e3", settings: {LETHE_COMMANDS_MAX_BYTES: 1073741824}}
shard: "1"
keda: {enabled: true, account: "123", accountID: ADEAD, stream: "0123", natsMonitoringEndpoint: "123"}
podMonitor: {enabled: true, labels: {release: "true"}}
`))
	_, setup := setupOf(t, all)
	secret := func(o object) any {
		container := at(o, "spec", "template", "spec").(object)["containers"].([]any)[0].(object)
		return at(container["env"].([]any)[0].(object), "valueFrom", "secretKeyRef", "name")
	}
	settings, trigger := at(all["ConfigMap/lethe-worker"], "data").(object), at(all["ScaledObject/lethe-worker"], "spec", "triggers").([]any)[0].(object)["metadata"].(object)
	for what, row := range map[string]struct{ got, want any }{
		"a large setting":       {settings["LETHE_LONG_BATCH"], "1000000"},
		"a share":               {settings["LETHE_SHARE"], "0.25"},
		"a switch":              {settings["LETHE_SWITCH"], "true"},
		"a text":                {settings["LETHE_TEXT"], "a\n\"b\" {{ c }} é"},
		"the shard":             {settings["LETHE_SHARD"], "1"},
		"the setup's bytes":     {at(all["ConfigMap/lethe-setup"], "data", "LETHE_COMMANDS_MAX_BYTES"), "1073741824"},
		"the worker's Secret":   {secret(all["Deployment/lethe-worker"]), "123"},
		"the setup's Secret":    {secret(setup), "1e3"},
		"the account":           {trigger["account"], "123"},
		"the account's key":     {trigger["accountID"], "ADEAD"},
		"the stream":            {trigger["stream"], "0123"},
		"the monitor's address": {trigger["natsServerMonitoringEndpoint"], "123"},
		"the monitor's label":   {at(all["PodMonitor/lethe-worker"], "metadata", "labels", "release"), "true"},
	} {
		if row.got != row.want {
			t.Errorf("%s is %#v; want %#v", what, row.got, row.want)
		}
	}
}

// Whoever misspells a value should hear of it, and so should whoever overrides what the chart itself says of its pods.
func TestValuesThatMeanNothingAreRefused(t *testing.T) {
	t.Parallel()
	refused := map[string]string{
		"replicas: 3":                                "replicas",
		"worker: {replica: 3}":                       "replica",
		"worker: {settings: {logFormat: json}}":      "logFormat",
		"image: {tag: 1}":                            "tag",
		"shard: A":                                   "shard",
		"subjectPrefix: a..b":                        "subjectPrefix",
		"network: {postgres: {cidr: 192.0.2.10/32}}": "cidr",
		"network: {postgres: {to: null}}":            "to",
		"extraEnv: {SSL_CERT_FILE: /certs/ca.crt}":   "extraEnv",
		// What the chart says itself, or the Secret.
		"worker: {settings: {LETHE_SHARD: a}}":          "LETHE_SHARD",
		"setup: {settings: {LETHE_SUBJECT_PREFIX: a}}":  "LETHE_SUBJECT_PREFIX",
		"worker: {settings: {DATABASE_URL: postgres:}}": "DATABASE_URL",
		"setup: {settings: {NATS_URL: nats:}}":          "NATS_URL",
		`worker: {settings: {HTTP_ADDR: ":9090"}}`:      "HTTP_ADDR",
	}
	for _, o := range render(t, "lethe", parsed(t, "plan: 'messages: {table: posts}'")) {
		pod, _ := at(o, "spec", "template", "spec").(object)
		for field := range pod {
			refused["extraPodSpec: {"+field+": {}}"] = field
		}
	}
	if len(refused) < 14+8 {
		t.Fatalf("%d values; the fields of the pods are no longer found", len(refused))
	}
	for text, word := range refused {
		if _, err := tryRender(t, "lethe", parsed(t, text)); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v; want Helm to refuse %s", text, err, word)
		}
	}
}

func TestTheNotesNameTheReleasesNamespace(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{}":                   "-n lethe-x rollout status deployment/lethe-worker",
		"shard: a":             "--wait --shard a",
		"subjectPrefix: a.b":   "deploy/kubernetes/setup-app <app> --subject-prefix a.b",
		"image: {tag: v1.2.3}": "LETHE_NAMESPACE=lethe-x deploy/kubernetes/setup-app",
		"image: {tag: ''}":     "--set image.tag=",
	} {
		texts, err := tryRender(t, "lethe-x", parsed(t, text))
		if err != nil {
			t.Fatal(err)
		}
		if notes := texts["lethe/templates/NOTES.txt"]; !strings.Contains(notes, want) {
			t.Errorf("%s: the notes are\n%s\nwant %q in them", text, notes, want)
		}
	}
}
