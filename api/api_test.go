// Package api_test keeps the documents of this directory in step with the Go
// types of the conversation package.
package api_test

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/lethe-im/lethe/conversation"
)

func compile(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	s, err := c.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// readJSON decodes a file into plain values, numbers as json.Number.
func readJSON(t *testing.T, name string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return plain(t, data).(map[string]any)
}

func plain(t *testing.T, data []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return v
}

// contract pairs each schema with its Go type.
var contract = []struct {
	file   string
	goType reflect.Type
	at     func(doc map[string]any) map[string]any // the object in the schema
}{
	{"command.schema.json", reflect.TypeFor[conversation.Command](), root},
	{"command.schema.json", reflect.TypeFor[conversation.Target](), func(doc map[string]any) map[string]any {
		return doc["$defs"].(map[string]any)["target"].(map[string]any)
	}},
	{"deleted.schema.json", reflect.TypeFor[conversation.Deleted](), root},
	{"erased.schema.json", reflect.TypeFor[conversation.Erased](), root},
	{"all_deleted.schema.json", reflect.TypeFor[conversation.AllDeleted](), root},
	{"delete_failed.schema.json", reflect.TypeFor[conversation.DeleteFailed](), root},
	{"deleting.schema.json", reflect.TypeFor[conversation.Deleting](), root},
}

func root(doc map[string]any) map[string]any { return doc }

func TestSchemasNameTheFieldsOfTheGoTypes(t *testing.T) {
	t.Parallel()
	for _, row := range contract {
		t.Run(row.goType.Name(), func(t *testing.T) {
			t.Parallel()
			object := row.at(readJSON(t, row.file))
			all, required := tags(row.goType)
			var properties, mandatory []string
			for name := range object["properties"].(map[string]any) {
				properties = append(properties, name)
			}
			for _, name := range object["required"].([]any) {
				mandatory = append(mandatory, name.(string))
			}
			slices.Sort(properties)
			slices.Sort(mandatory)
			if diff := cmp.Diff(all, properties); diff != "" {
				t.Errorf("properties (-Go +schema):\n%s", diff)
			}
			if diff := cmp.Diff(required, mandatory); diff != "" {
				t.Errorf("required (-Go +schema):\n%s", diff)
			}
		})
	}
}

// tags returns the JSON names of a struct's fields, and of those always written.
func tags(s reflect.Type) (all, required []string) {
	for i := range s.NumField() {
		name, options, _ := strings.Cut(s.Field(i).Tag.Get("json"), ",")
		all = append(all, name)
		if !strings.HasPrefix(options, "omit") {
			required = append(required, name)
		}
	}
	slices.Sort(all)
	slices.Sort(required)
	return all, required
}

func TestSchemasLimitLengthsAsTheGoConstantsDo(t *testing.T) {
	t.Parallel()
	limits := map[string]int{
		"command_id": conversation.MaxCommandID, "app_id": conversation.MaxAppID, "user_id": conversation.MaxUserID,
		"device_id": conversation.MaxDeviceID, "origin_device_id": conversation.MaxDeviceID,
		"requested_by": conversation.MaxUserID, "conversation_id": conversation.MaxConversationID, "id": conversation.MaxConversationID,
	}
	for _, row := range contract {
		for name, schema := range row.at(readJSON(t, row.file))["properties"].(map[string]any) {
			want, isID := limits[name]
			if !isID {
				continue
			}
			property := schema.(map[string]any)
			if got := number(property["maxLength"]); got != want {
				t.Errorf("%s: %s has maxLength %d; want %d", row.file, name, got, want)
			}
			if least := number(property["minLength"]); (least == 1) == (name == "device_id") {
				t.Errorf("%s: %s has minLength %d", row.file, name, least)
			}
		}
	}
	targets := readJSON(t, "command.schema.json")["properties"].(map[string]any)["conversations"].(map[string]any)
	if got := number(targets["maxItems"]); got != conversation.MaxConversations {
		t.Errorf("conversations has maxItems %d; want %d", got, conversation.MaxConversations)
	}
}

func number(v any) int {
	n, ok := v.(json.Number)
	if !ok {
		return 0
	}
	i, _ := n.Int64()
	return int(i)
}

func TestSchemaListsTheReasons(t *testing.T) {
	t.Parallel()
	reason := readJSON(t, "delete_failed.schema.json")["properties"].(map[string]any)["reason"].(map[string]any)
	if diff := cmp.Diff(reasons(), reason["enum"]); diff != "" {
		t.Errorf("reasons (-Go +schema):\n%s", diff)
	}
}

func reasons() []any {
	return []any{
		string(conversation.ReasonInvalidCommand), string(conversation.ReasonAppMismatch), string(conversation.ReasonScopeMismatch),
		string(conversation.ReasonCommandIDReused), string(conversation.ReasonIncompatibleID), string(conversation.ReasonBoundaryRequired),
		string(conversation.ReasonUnsupportedScope), string(conversation.ReasonAttemptsExhausted),
	}
}

func TestMarshalledValuesSatisfyTheirSchemas(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 9, 0, 0, 12_345_678, time.FixedZone("", -3600))
	zero, most := int64(0), int64(1<<63-1)
	for name, row := range map[string]struct {
		file  string
		value any
	}{
		"the least command": {"command.schema.json", conversation.Command{
			CommandID: "1", AppID: "a", UserID: "u", Conversations: []conversation.Target{{ID: "c"}},
		}},
		"a full command": {"command.schema.json", conversation.Command{
			CommandID: "1", AppID: "a", UserID: "<😀>", DeviceID: "d", KeepHistory: true, RequestedAt: at,
			Conversations: []conversation.Target{{ID: "c", ThroughSeq: &zero}, {ID: "d", ThroughSeq: &most}},
		}},
		"a command for everyone": {"command.schema.json", conversation.Command{
			CommandID: "1", AppID: "a", UserID: "u", Scope: conversation.ScopeEveryone, KeepConversation: true,
			Conversations: []conversation.Target{{ID: "c", ThroughSeq: &most}},
		}},
		"a command for all conversations": {"command.schema.json", conversation.Command{
			CommandID: "1", AppID: "a", UserID: "u", AllConversations: true, KeepHistory: true, Scope: conversation.ScopeSelf,
		}},
		"the least deleted": {"deleted.schema.json", conversation.Deleted{CommandID: "1", AppID: "a", UserID: "u", ConversationID: "c"}},
		"a full deleted": {"deleted.schema.json", conversation.Deleted{
			CommandID: "1", AppID: "a", UserID: "u", ConversationID: "c", ThroughSeq: most, MessagesDeleted: most, HistoryKept: true,
			ConversationRemoved: true, Erased: true, Scope: conversation.ScopeEveryone, RequestedBy: "v", MultiClientSync: true,
			OriginDeviceID: "d", RequestedAt: at, CompletedAt: at,
		}},
		"the least erased": {"erased.schema.json", conversation.Erased{CommandID: "1", AppID: "a", UserID: "u", ConversationID: "c"}},
		"a full erased": {"erased.schema.json", conversation.Erased{
			CommandID: "1", AppID: "a", UserID: "u", ConversationID: "c", ThroughSeq: most, ErasedAt: at,
		}},
		"the least of all": {"all_deleted.schema.json", conversation.AllDeleted{CommandID: "1", AppID: "a", UserID: "u"}},
		"a full one of all": {"all_deleted.schema.json", conversation.AllDeleted{
			CommandID: "1", AppID: "a", UserID: "u", Conversations: most, Failed: 1, MessagesDeleted: most, MultiClientSync: true,
			OriginDeviceID: "d", RequestedAt: at, CompletedAt: at,
		}},
		"the least failure": {"delete_failed.schema.json", conversation.DeleteFailed{
			AppID: "a", UserID: "u", Reason: conversation.ReasonInvalidCommand,
		}},
		"a full failure": {"delete_failed.schema.json", conversation.DeleteFailed{
			CommandID: "1", AppID: "a", UserID: "u", ConversationID: "c", Reason: conversation.ReasonAttemptsExhausted,
			Message: "m", OriginDeviceID: "d", FailedAt: at,
		}},
		"the least progress": {"deleting.schema.json", conversation.Deleting{CommandID: "1", AppID: "a", UserID: "u", ConversationID: "c"}},
		"a full progress": {"deleting.schema.json", conversation.Deleting{
			CommandID: "1", AppID: "a", UserID: "u", ConversationID: "c", ThroughSeq: 3, PurgedThroughSeq: 2, MessagesDeleted: 1, WaitingFor: "w",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := json.Marshal(row.value)
			if err != nil {
				t.Fatal(err)
			}
			if err := compile(t, row.file).Validate(plain(t, data)); err != nil {
				t.Errorf("%s: %v", data, err)
			}
		})
	}
}

func TestExamplesOfTheSchemasSatisfyThem(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"command.schema.json", "deleted.schema.json", "delete_failed.schema.json", "deleting.schema.json"} {
		schema := compile(t, file)
		examples := readJSON(t, file)["examples"].([]any)
		if len(examples) == 0 {
			t.Errorf("%s has no example", file)
		}
		for _, example := range examples {
			if err := schema.Validate(example); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}
