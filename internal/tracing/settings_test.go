package tracing

import (
	"errors"
	"strings"
	"testing"
)

// env is an environment of NAME=value.
func env(vars ...string) func(string) string {
	return func(name string) string {
		for _, v := range vars {
			if value, found := strings.CutPrefix(v, name+"="); found {
				return value
			}
		}
		return ""
	}
}

const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318"

func TestTracesAreWantedWhereAnEndpointIsNamed(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		vars []string
		want bool
	}{
		{nil, false},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT= "}, false},
		{[]string{"OTEL_TRACES_EXPORTER=otlp", "OTEL_SERVICE_NAME=worker"}, false},
		{[]string{endpoint}, true},
		{[]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://collector:4318/v1/traces"}, true},
		{[]string{endpoint, "OTEL_SDK_DISABLED=false"}, true},
		{[]string{endpoint, "OTEL_SDK_DISABLED=True"}, false},
		{[]string{endpoint, "OTEL_TRACES_EXPORTER=none"}, false},
	} {
		if got := Wanted(env(row.vars...)); got != row.want {
			t.Errorf("%q: wanted = %v; want %v", row.vars, got, row.want)
		}
	}
}

func TestCheckNamesEachVariableThatIsWrong(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		vars []string
		want []string // what the problems begin with
	}{
		{[]string{endpoint}, nil},
		{[]string{endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_EXPORTER_OTLP_HEADERS=a=b,c = d%20e,f="}, nil},
		{[]string{endpoint, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json"}, nil},
		{[]string{endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, []string{"OTEL_EXPORTER_OTLP_PROTOCOL: grpc is not supported: expected http/protobuf"}},
		{[]string{endpoint, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=thrift"}, []string{`OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "thrift" is not known`}},
		{
			[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318", "OTEL_TRACES_EXPORTER=jaeger"},
			[]string{"OTEL_EXPORTER_OTLP_ENDPOINT: is not an address", `OTEL_TRACES_EXPORTER: "jaeger" is not supported`},
		},
		{[]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=grpc://collector:4317"}, []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: is not an address"}},
		{[]string{endpoint, "OTEL_EXPORTER_OTLP_HEADERS=a=b,secret"}, []string{"OTEL_EXPORTER_OTLP_HEADERS: is not a list of headers"}},
		{[]string{endpoint, "OTEL_EXPORTER_OTLP_TRACES_HEADERS=secret=100%"}, []string{"OTEL_EXPORTER_OTLP_TRACES_HEADERS: is not a list of headers"}},
		{[]string{endpoint, "OTEL_SDK_DISABLED=true", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, nil},
		{[]string{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, nil},
	} {
		found := Check(env(row.vars...))
		if len(found) != len(row.want) {
			t.Errorf("%q: problems %v; want %d", row.vars, found, len(row.want))
			continue
		}
		for i, err := range found {
			if !strings.HasPrefix(err.Error(), row.want[i]) {
				t.Errorf("%q: %v; want %s…", row.vars, err, row.want[i])
			}
		}
		if text := errors.Join(found...); text != nil && strings.Contains(text.Error(), "secret") {
			t.Errorf("%q: %v quotes a secret", row.vars, text)
		}
	}
}
