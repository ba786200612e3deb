package generate

import (
	"reflect"
	"strings"
)

// known are types that write themselves otherwise than their fields say.
var known = map[string]object{
	"k8s.io/apimachinery/pkg/util/intstr.IntOrString": {"type": []any{"integer", "string"}},
	"k8s.io/apimachinery/pkg/api/resource.Quantity":   {"type": []any{"number", "string"}},
	"k8s.io/apimachinery/pkg/apis/meta/v1.Time":       {"type": "string"},
	"k8s.io/apimachinery/pkg/apis/meta/v1.ObjectMeta": {"$ref": definitions + meta},
}

// ofType is the schema of a Go type, by its fields' names and types; what isn't left out when empty is required.
func ofType(t reflect.Type) object {
	if s, ok := known[t.PkgPath()+"."+t.Name()]; ok {
		return s
	}
	switch t.Kind() {
	case reflect.Pointer:
		return ofType(t.Elem())
	case reflect.Struct:
		s := object{"type": "object", "properties": object{}, "additionalProperties": false}
		addFields(s, t)
		return s
	case reflect.Slice:
		return object{"type": "array", "items": ofType(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": ofType(t.Elem())}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer"}
	default:
		panic("BUG: no schema for " + t.String())
	}
}

// addFields adds a struct's fields, and those of structs in it that have no name of their own.
func addFields(s object, t reflect.Type) {
	for field := range t.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" {
			embedded := field.Type
			if embedded.Kind() == reflect.Pointer {
				embedded = embedded.Elem()
			}
			addFields(s, embedded)
			continue
		}
		s["properties"].(object)[name] = ofType(field.Type)
		if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
			required, _ := s["required"].([]any)
			s["required"] = append(required, name)
		}
	}
}
