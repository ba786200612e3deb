package generate

import (
	"maps"
	"slices"
)

// object is one of JSON.
type object = map[string]any

// kept are the words of a schema that say something about values and hold no schemas themselves.
var kept = []string{
	"$ref", "type", "format", "enum", "required", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
	"minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties",
}

// strict returns a schema of Kubernetes, an OpenAPI one, as a JSON Schema without descriptions. Where closed, an object
// takes no properties but those it lists.
func strict(from object, closed bool) object {
	if from["format"] == "int-or-string" || from["x-kubernetes-int-or-string"] == true {
		return object{"type": []any{"integer", "string"}}
	}
	to := object{}
	for _, word := range kept {
		if value, ok := from[word]; ok {
			to[word] = value
		}
	}
	closed = closed && from["x-kubernetes-preserve-unknown-fields"] != true
	if properties, ok := from["properties"].(object); ok {
		to["properties"] = strictEach(properties, closed)
		if closed {
			to["additionalProperties"] = false
		}
	}
	for _, word := range []string{"items", "additionalProperties", "not"} {
		switch value := from[word].(type) {
		case object:
			to[word] = strict(value, closed && word != "not")
		case bool:
			to[word] = value
		}
	}
	for _, word := range []string{"allOf", "anyOf", "oneOf"} { // these see but a part of an object's properties
		if list, ok := from[word].([]any); ok {
			to[word] = strictList(list)
		}
	}
	return to
}

func strictEach(from object, closed bool) object {
	to := object{}
	for name, value := range from {
		to[name] = strict(value.(object), closed)
	}
	return to
}

func strictList(from []any) (to []any) {
	for _, value := range from {
		to = append(to, strict(value.(object), false))
	}
	return to
}

// references adds to found the names of the definitions that a schema refers to, in any depth.
func references(schema any, all object, found map[string]bool) {
	switch s := schema.(type) {
	case object:
		if ref, ok := s["$ref"].(string); ok {
			if name := ref[len(definitions):]; !found[name] {
				found[name] = true
				references(all[name], all, found)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(s)) {
			references(s[key], all, found)
		}
	case []any:
		for _, one := range s {
			references(one, all, found)
		}
	}
}
