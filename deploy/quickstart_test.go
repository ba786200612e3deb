package deploy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const quickstart = "scripts/quickstart-kubernetes"

// programs takes the places of the programs that the quickstart runs: they say how they were called, and with which file of clusters.
func programs(t *testing.T, dir string, names ...string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		executable(t, filepath.Join(dir, "bin", name), `printf '%s\n' "`+name+` $(echo "$*" | tr '\n' ' ') [${KUBECONFIG:-none}]" >>"$CALLS"
case "`+name+` $*" in
"kubectl config view"*" mine") echo 'clusters: []' ;;
"kubectl config view"*) exit 1 ;;
"kubectl get namespace nats"*jsonpath*) printf %s "${OURS:-}" ;;
"kubectl -n nats get secret passwords -o"*) for p in SETUP WORKER OPERATOR; do echo NATS_${p}_PASSWORD=p1; done; echo NATS_SETUP_PASSWORD_demo=p1 ;;
"kubectl -n postgres get secret passwords -o"*) for p in SETUP WORKER OPERATOR; do echo LETHE_${p}_PASSWORD=p1; done ;;
"kubectl get namespace"*) [ -n "${TAKEN:-}" ] ;;
esac`)
	}
}

// Whoever lacks a program hears which, and where it is to be had.
func TestTheQuickstartSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		programs  []string
		env, args []string
		want      string
	}{
		"no cluster's program":      {programs: []string{"kubectl"}, want: "neither kind nor k3d is here. Install one (https://kind.sigs.k8s.io, https://k3d.io)"},
		"an argument":               {programs: []string{"kubectl"}, args: []string{"--remove"}, want: "unknown argument --remove; usage:"},
		"an unknown context":        {programs: []string{"kubectl"}, env: []string{"KUBECONTEXT=other"}, want: "kubectl knows no context other"},
		"no image for a context":    {programs: []string{"kubectl"}, env: []string{"KUBECONTEXT=mine"}, want: "KUBECONTEXT needs LETHE_IMAGE"},
		"a namespace of others":     {programs: []string{"kubectl"}, env: []string{"KUBECONTEXT=mine", "LETHE_IMAGE=i", "TAKEN=1"}, want: "the namespace lethe exists, and not by the quickstart"},
		"nothing of it to delete":   {programs: []string{"kubectl"}, env: []string{"KUBECONTEXT=mine", "OURS=somebody"}, args: []string{"--delete"}, want: "the context mine has no quickstart"},
		"an engine that is stopped": {programs: []string{"kubectl", "kind"}, want: "Docker doesn't answer"},
	} {
		dir := copied(t, quickstart)
		programs(t, dir, row.programs...)
		executable(t, filepath.Join(dir, "bin", "docker"), "exit 1")
		status, out := called(t, dir, append(row.env, "CALLS="+dir+"/calls"), quickstart, row.args...)
		if status != 1 || !strings.Contains(out, row.want) {
			t.Errorf("%s: status %d, %q; want 1, and %q", name, status, out, row.want)
		}
		if _, err := os.Stat(dir + "/bin/quickstart.kubeconfig"); err == nil {
			t.Errorf("%s: it leaves a copy of the context's credentials", name)
		}
		if calls, err := os.ReadFile(dir + "/calls"); err == nil && (strings.Contains(string(calls), "apply") || strings.Contains(string(calls), "kubectl delete")) {
			t.Errorf("%s: it has changed something:\n%s", name, calls)
		}
	}
}

// The current context may be a company's production: but for reading the one that KUBECONTEXT names, nothing may use it.
func TestTheQuickstartUsesNoOtherContext(t *testing.T) {
	t.Parallel()
	for name, env := range map[string][]string{
		"kind": nil, "k3d": nil, "a context": {"KUBECONTEXT=mine", "LETHE_IMAGE=registry.example.com/worker:1"},
	} {
		for _, args := range [][]string{nil, {"--delete"}} {
			dir := copied(t, quickstart, "deploy/kubernetes/operator", "deploy/kubernetes/operator.json", "deploy/kubernetes/setup-app", "deploy/kubernetes/setup-app.json",
				"deploy/postgres/ledger.sql", "deploy/kubernetes/overlays/quickstart/sample.sql")
			own := []string{"kubectl", "docker"}
			if env == nil {
				own = append(own, name)
			}
			programs(t, dir, own...)
			if len(args) > 0 {
				env = append(env, "OURS=lethe-quickstart")
			}
			status, out := called(t, dir, append(env, "CALLS="+dir+"/calls"), quickstart, args...)
			if status != 0 {
				t.Errorf("%s %v: status %d: %s", name, args, status, out)
			}
			calls := strings.Split(strings.TrimSpace(read(t, dir+"/calls")), "\n")
			used := 0
			for _, call := range calls {
				switch {
				case strings.HasPrefix(call, "kubectl config view "):
				case strings.HasSuffix(call, "["+dir+"/bin/quickstart.kubeconfig]"):
					used++
				case strings.HasPrefix(call, "kubectl "), strings.HasPrefix(call, "kind create") && !strings.Contains(call, "--kubeconfig "+dir),
					strings.HasPrefix(call, "k3d cluster create") && !strings.Contains(call, "--kubeconfig-update-default=false"):
					t.Errorf("%s %v: %s: it may use or change another context", name, args, call)
				}
			}
			if used == 0 || len(args) == 0 && used < 20 {
				t.Errorf("%s %v: %d calls with the quickstart's own file, of\n%s", name, args, used, strings.Join(calls, "\n"))
			}
		}
	}
}

// The app's Secret is named by the app unless told otherwise, and flags are the command's.
func TestSetupAppPassesOnWhatItIsTold(t *testing.T) {
	t.Parallel()
	for args, want := range map[string][2]string{
		"demo":                       {`"lethe-app-demo"`, "-- setup-app --app demo  ["},
		"team.a team-a":              {`"lethe-app-team-a"`, "-- setup-app --app team.a  ["},
		"demo --subject-prefix acme": {`"lethe-app-demo"`, "-- setup-app --app demo --subject-prefix acme  ["},
		"team.a team-a --app-events-max-bytes 8MiB": {`"lethe-app-team-a"`, "-- setup-app --app team.a --app-events-max-bytes 8MiB  ["},
	} {
		dir := copied(t, "deploy/kubernetes/setup-app", "deploy/kubernetes/setup-app.json")
		programs(t, dir, "kubectl")
		status, out := called(t, dir, []string{"CALLS=" + dir + "/calls"}, "deploy/kubernetes/setup-app", strings.Fields(args)...)
		if calls := read(t, dir+"/calls"); status != 0 || !strings.Contains(calls, want[0]) || !strings.Contains(calls, want[1]) {
			t.Errorf("setup-app %s: status %d, %s; it calls\n%s\nwant %s", args, status, out, calls, want)
		}
	}
}
