package api_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/lethe-im/lethe/conversation"
)

const asyncAPI = "asyncapi.yaml"

func readAsyncAPI(t *testing.T) map[string]any {
	t.Helper()
	data, err := os.ReadFile(asyncAPI)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := yaml.UnmarshalWithOptions(data, &doc, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	return doc
}

// at walks down the keys of nested objects.
func at(t *testing.T, doc map[string]any, path ...string) map[string]any {
	t.Helper()
	for i, key := range path {
		next, ok := doc[key].(map[string]any)
		if !ok {
			t.Fatalf("%s: no object at %s", asyncAPI, strings.Join(path[:i+1], "/"))
		}
		doc = next
	}
	return doc
}

// walk calls visit with each object below v and its path.
func walk(v any, path string, visit func(path string, object map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		visit(path, v)
		for key, below := range v {
			walk(below, path+"/"+key, visit)
		}
	case []any:
		for i, below := range v {
			walk(below, fmt.Sprint(path, "/", i), visit)
		}
	}
}

func TestAsyncAPIReferencesResolve(t *testing.T) {
	t.Parallel()
	doc := readAsyncAPI(t)
	files := map[string]bool{}
	walk(doc, "", func(path string, object map[string]any) {
		ref, ok := object["$ref"].(string)
		if !ok {
			return
		}
		if pointer, local := strings.CutPrefix(ref, "#/"); local {
			at(t, doc, strings.Split(pointer, "/")...)
			return
		}
		if _, err := os.Stat(ref); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		files[filepath.Base(ref)] = true
	})
	schemas, err := filepath.Glob("*.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, schema := range schemas {
		if !files[schema] {
			t.Errorf("%s is in no message", schema)
		}
	}
}

func TestAsyncAPIAddressesAreTheSubjects(t *testing.T) {
	t.Parallel()
	const app, user, shard = "APP", "USER", "shard"
	type channel struct{ Address, Stream, Message string }
	want := map[string]channel{
		"commands":              {conversation.CommandSubject(app), conversation.CommandsStream, "command"},
		"trustedCommands":       {conversation.CommandSubject(""), conversation.CommandsStream, "command"},
		"shardCommands":         {conversation.Shard(shard).CommandSubject(app), conversation.Shard(shard).CommandsStream(), "command"},
		"everyoneCommands":      {conversation.DeleteEveryoneSubject(app), conversation.CommandsStream, "command"},
		"shardEveryoneCommands": {conversation.Shard(shard).DeleteEveryoneSubject(app), conversation.Shard(shard).CommandsStream(), "command"},
		"erased":                {conversation.ErasedSubject(app, user), conversation.EventsStream, "erased"},
		"allDeleted":            {conversation.AllDeletedSubject(app, user), conversation.EventsStream, "allDeleted"},
		"deleted":               {conversation.DeletedSubject(app, user), conversation.EventsStream, "deleted"},
		"deleteFailed":          {conversation.DeleteFailedSubject(app, user), conversation.EventsStream, "deleteFailed"},
		"deleting":              {conversation.DeletingSubject(app, user), "", "deleting"},
		"deadLetters":           {conversation.DeadLetterSubject(app), conversation.DeadLettersStream, "deadLetter"},
	}
	got := map[string]channel{}
	doc := readAsyncAPI(t)
	for name := range at(t, doc, "channels") {
		c := at(t, doc, "channels", name)
		address, _ := c["address"].(string)
		for _, parameter := range []string{"app", "user", "shard"} {
			declared := strings.Contains(address, "{"+parameter+"}")
			parameters, _ := c["parameters"].(map[string]any)
			if _, ok := parameters[parameter]; ok != declared {
				t.Errorf("channel %s: parameter %s is in the address: %v, declared: %v", name, parameter, declared, ok)
			}
		}
		stream, _ := c["x-stream"].(string)
		messages := at(t, c, "messages")
		if len(messages) != 1 {
			t.Fatalf("channel %s has %d messages; want 1", name, len(messages))
		}
		for message := range messages {
			got[name] = channel{
				strings.NewReplacer("{app}", app, "{user}", user, "{shard}", shard).Replace(address),
				strings.ReplaceAll(stream, "{SHARD}", strings.ToUpper(shard)), message,
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("channels (-Go +AsyncAPI):\n%s", diff)
	}
}

func TestAsyncAPIHasAnOperationForEachChannel(t *testing.T) {
	t.Parallel()
	doc := readAsyncAPI(t)
	var channels []string
	for name := range at(t, doc, "operations") {
		operation := at(t, doc, "operations", name)
		ref, _ := at(t, operation, "channel")["$ref"].(string)
		channel := strings.TrimPrefix(ref, "#/channels/")
		channels = append(channels, channel)
		receives := operation["action"] == "receive"
		if commands := strings.HasSuffix(strings.ToLower(channel), "commands"); receives != commands {
			t.Errorf("operation %s has action %v", name, operation["action"])
		}
		for _, m := range operation["messages"].([]any) {
			if ref, _ := m.(map[string]any)["$ref"].(string); !strings.HasPrefix(ref, "#/channels/"+channel+"/messages/") {
				t.Errorf("operation %s has the message %s of another channel", name, ref)
			}
		}
	}
	for name := range at(t, doc, "channels") {
		if !slices.Contains(channels, name) {
			t.Errorf("channel %s has no operation", name)
		}
	}
}

func TestAsyncAPIHeadersAreThoseOfTheEvents(t *testing.T) {
	t.Parallel()
	doc := readAsyncAPI(t)
	full, err := conversation.Deleted{AppID: "a", UserID: "u", ConversationID: "c"}.
		Msg(conversation.Trace{Parent: "p", State: "s"})
	if err != nil {
		t.Fatal(err)
	}
	bare, err := conversation.DeleteFailed{AppID: "a", UserID: "u"}.Msg(1, conversation.Trace{})
	if err != nil {
		t.Fatal(err)
	}
	headers := at(t, doc, "components", "schemas", "eventHeaders")
	if diff := cmp.Diff(keys(full.Header), keys(at(t, headers, "properties"))); diff != "" {
		t.Errorf("headers of an event (-Go +AsyncAPI):\n%s", diff)
	}
	if diff := cmp.Diff(keys(bare.Header), texts(headers["required"])); diff != "" {
		t.Errorf("headers that every event has (-Go +AsyncAPI):\n%s", diff)
	}
}

func TestAsyncAPIHeadersAreThoseOfDeadLetters(t *testing.T) {
	t.Parallel()
	want := []string{
		conversation.HeaderReason, conversation.HeaderError, conversation.HeaderSubject, conversation.HeaderStreamSequence,
		conversation.HeaderStoredAt, conversation.HeaderDeliveries, conversation.HeaderFailedAt,
	}
	slices.Sort(want)
	headers := at(t, readAsyncAPI(t), "components", "messages", "deadLetter", "headers")
	if diff := cmp.Diff(want, texts(headers["required"])); diff != "" {
		t.Errorf("headers that every dead letter has (-Go +AsyncAPI):\n%s", diff)
	}
	want = append(want, conversation.HeaderShard)
	slices.Sort(want)
	if diff := cmp.Diff(want, keys(at(t, headers, "properties"))); diff != "" {
		t.Errorf("headers of a dead letter (-Go +AsyncAPI):\n%s", diff)
	}
	if diff := cmp.Diff(reasons(), at(t, headers, "properties", conversation.HeaderReason)["enum"]); diff != "" {
		t.Errorf("reasons (-Go +AsyncAPI):\n%s", diff)
	}
}

func keys[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func texts(list any) []string {
	var all []string
	for _, v := range list.([]any) {
		all = append(all, v.(string))
	}
	slices.Sort(all)
	return all
}
