package tracing

import (
	"fmt"
	"net/url"
	"strings"
)

// The variables that decide here; the SDK reads the others.
const (
	endpointVar       = "OTEL_EXPORTER_OTLP_ENDPOINT"
	tracesEndpointVar = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	headersVar        = "OTEL_EXPORTER_OTLP_HEADERS"
	tracesHeadersVar  = "OTEL_EXPORTER_OTLP_TRACES_HEADERS"
	protocolVar       = "OTEL_EXPORTER_OTLP_PROTOCOL"
	tracesProtocolVar = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
	exporterVar       = "OTEL_TRACES_EXPORTER"
	disabledVar       = "OTEL_SDK_DISABLED"
)

// Wanted reports whether the environment asks for traces: it names an endpoint,
// and nothing else switches them off.
func Wanted(getenv func(string) string) bool {
	value := func(name string) string { return strings.TrimSpace(getenv(name)) }
	return (value(endpointVar) != "" || value(tracesEndpointVar) != "") &&
		!strings.EqualFold(value(disabledVar), "true") && value(exporterVar) != "none"
}

// Check returns what is wrong with the variables, an error for each; none while
// no traces are wanted.
func Check(getenv func(string) string) []error {
	if !Wanted(getenv) {
		return nil
	}
	var found []error
	check := func(problem func(string) string, names ...string) {
		for _, name := range names {
			value := strings.TrimSpace(getenv(name))
			if text := problem(value); value != "" && text != "" {
				found = append(found, fmt.Errorf("%s: %s", name, text))
			}
		}
	}
	check(endpointProblem, endpointVar, tracesEndpointVar)
	check(headersProblem, headersVar, tracesHeadersVar)
	check(protocolProblem, protocolVar, tracesProtocolVar)
	check(func(v string) string {
		if v != "otlp" {
			return fmt.Sprintf("%q is not supported: expected otlp or none", v)
		}
		return ""
	}, exporterVar)
	return found
}

// endpointProblem doesn't quote the value: a password may be in it.
func endpointProblem(v string) string {
	u, err := url.Parse(v)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "is not an address of a receiver: expected http://host:4318 or https://…"
	}
	return ""
}

// headersProblem doesn't quote either; the SDK would, in the log.
func headersProblem(v string) string {
	for pair := range strings.SplitSeq(v, ",") {
		name, value, found := strings.Cut(pair, "=")
		if _, err := url.PathUnescape(value); !found || err != nil || strings.TrimSpace(name) == "" {
			return "is not a list of headers: expected comma-separated name=value pairs, with % , and spaces in a value written as %25, %2C and %20"
		}
	}
	return ""
}

func protocolProblem(v string) string {
	switch v {
	case "http/protobuf", "http/json":
		return ""
	case "grpc":
		return "grpc is not supported: expected http/protobuf or http/json, and the receiver's port for HTTP, usually 4318"
	}
	return fmt.Sprintf("%q is not known: expected http/protobuf or http/json", v)
}
