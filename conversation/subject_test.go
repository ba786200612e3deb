package conversation_test

import (
	"strings"
	"testing"

	"github.com/lethe-im/lethe/conversation"
)

func TestEscapeTokenWritesWhatTheContractSays(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"demo": "demo", "A-z_09": "A-z_09", "a.b": "a%2Eb", "*": "%2A", ">": "%3E", " ": "%20", "%": "%25",
		"é": "%C3%A9", "a/b": "a%2Fb", "😀": "%F0%9F%98%80", "\x00\x7f": "%00%7F", "\xff": "%FF", "": "",
	} {
		if got := conversation.EscapeToken(in); got != want {
			t.Errorf("EscapeToken(%q) = %q; want %q", in, got, want)
		}
	}
}

func TestUnescapeTokenTakesOnlyWhatEscapeTokenWrites(t *testing.T) {
	t.Parallel()
	for _, tok := range []string{"", "%", "%2", "a%2", "%2e", "%zz", "%41", "%5F", "a.b", "*", "é", " ", "%%", "%2E%"} {
		if got, err := conversation.UnescapeToken(tok); err == nil {
			t.Errorf("UnescapeToken(%q) = %q; want an error", tok, got)
		}
	}
	if got, err := conversation.UnescapeToken("a%2Eb"); got != "a.b" || err != nil {
		t.Errorf("UnescapeToken = %q, %v; want a.b", got, err)
	}
}

func TestSubjectsAreNamedAsInTheContract(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		conversation.CommandSubject("demo"):              "conversation.delete.demo",
		conversation.CommandSubject("a.b"):               "conversation.delete.a%2Eb",
		conversation.CommandSubject(""):                  "conversation.delete",
		conversation.Shard("eu-1").CommandSubject("a.b"): "conversation.shard.eu-1.delete.a%2Eb",
		conversation.Shard("eu-1").CommandSubject(""):    "conversation.shard.eu-1.delete",
		conversation.Shard("eu-1").CommandsStream():      "CONVERSATION_COMMANDS_EU_1",
		conversation.Shard("").CommandsStream():          "CONVERSATION_COMMANDS",
		conversation.DeletedSubject("a", "u@x"):          "conversation.deleted.a.u%40x",
		conversation.DeleteFailedSubject("a", "*"):       "conversation.delete_failed.a.%2A",
		conversation.DeletingSubject("a", ">"):           "conversation.deleting.a.%3E",
		conversation.DeadLetterSubject("a b"):            "conversation.dead_letter.a%20b",
		conversation.DeadLetterSubject(""):               "conversation.dead_letter._",
	} {
		if got != want {
			t.Errorf("got %q; want %q", got, want)
		}
	}
}

func TestSubjectAppReadsTheToken(t *testing.T) {
	t.Parallel()
	for subject, want := range map[string]struct {
		app   string
		named bool
	}{
		"conversation.delete":                        {"", false},
		"conversation.deleted.a":                     {"", false},
		"elsewhere":                                  {"", false},
		"conversation.delete.demo":                   {"demo", true},
		"conversation.delete.a%2Eb":                  {"a.b", true},
		"conversation.delete.a%2eb":                  {"a%2eb", true},
		"conversation.delete.%zz":                    {"%zz", true},
		"conversation.delete.*":                      {"*", true},
		"conversation.delete.a.b":                    {"a.b", true},
		"conversation.shard.eu.delete.a%2Eb":         {"a.b", true},
		"conversation.shard.eu.delete.%zz":           {"%zz", true},
		"conversation.shard.eu.delete":               {"", false},
		"conversation.shard.eu":                      {"", false},
		"conversation.delete_everyone.a%2Eb":         {"a.b", true},
		"conversation.delete_everyone":               {"", false},
		"conversation.shard.eu.delete_everyone.demo": {"demo", true},
	} {
		if app, named := conversation.SubjectApp(subject); app != want.app || named != want.named {
			t.Errorf("SubjectApp(%q) = %q, %v; want %q, %v", subject, app, named, want.app, want.named)
		}
	}
}

func TestSubjectFitsOnlyTheExactToken(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		subject, app string
		want         bool
	}{
		{"conversation.delete", "anything", true},
		{"conversation.delete.demo", "demo", true},
		{"conversation.delete.demo", "Demo", false},
		{"conversation.delete.a%2Eb", "a.b", true},
		{"conversation.delete.a.b", "a.b", false},
		{"conversation.delete.*", "*", false},
		{"conversation.delete.%2A", "*", true},
		{"conversation.delete.a%2eb", "a.b", false},
		{"conversation.delete.a%2eb", "a%2eb", false},
		{"conversation.shard.eu.delete", "anything", true},
		{"conversation.shard.eu.delete.demo", "demo", true},
		{"conversation.shard.eu.delete.demo", "eu", false},
		{"conversation.delete_everyone.demo", "demo", true},
		{"conversation.delete_everyone.demo", "Demo", false},
		{"conversation.shard.eu.delete_everyone.a%2Eb", "a.b", true},
		{"conversation.shard.eu.delete_everyone.a.b", "a.b", false},
	} {
		if got := conversation.SubjectFits(row.subject, row.app); got != row.want {
			t.Errorf("SubjectFits(%q, %q) = %v; want %v", row.subject, row.app, got, row.want)
		}
	}
}

func TestTheSubjectForEveryoneIsAnother(t *testing.T) {
	t.Parallel()
	for subject, want := range map[string]string{
		conversation.DeleteEveryoneSubject("a.b"):                  "conversation.delete_everyone.a%2Eb",
		conversation.Shard("us-1").DeleteEveryoneSubject("delete"): "conversation.shard.us-1.delete_everyone.delete",
		conversation.Shard("delete_everyone").CommandSubject("a"):  "conversation.shard.delete_everyone.delete.a",
		conversation.CommandSubject("delete_everyone"):             "conversation.delete.delete_everyone",
		conversation.Shard("eu").CommandSubject(""):                "conversation.shard.eu.delete",
		conversation.ErasedSubject("a.b", "al ice"):                "conversation.erased.a%2Eb.al%20ice",
		conversation.AllDeletedSubject("a.b", "al ice"):            "conversation.all_deleted.a%2Eb.al%20ice",
	} {
		if subject != want {
			t.Errorf("subject %s; want %s", subject, want)
		}
		scope := conversation.ScopeSelf
		if strings.Contains(want, "delete_everyone.") && !strings.Contains(want, "shard.delete_everyone") {
			scope = conversation.ScopeEveryone
		}
		if got := conversation.SubjectScope(subject); got != scope {
			t.Errorf("SubjectScope(%s) = %s; want %s", subject, got, scope)
		}
	}
	if got := conversation.SubjectShard("conversation.shard.us-1.delete_everyone.demo"); got != "us-1" {
		t.Errorf("SubjectShard = %q; want us-1", got)
	}
}

func TestShardsHaveSubjectsAndStreamsOfTheirOwn(t *testing.T) {
	t.Parallel()
	streams := map[string]string{}
	for _, name := range []string{"a", "0", "-", "a-b", "a--b", "-a-b", strings.Repeat("x", 32)} {
		shard, err := conversation.ParseShard(name)
		if err != nil {
			t.Errorf("ParseShard(%q) = %v", name, err)
		}
		if other := streams[shard.CommandsStream()]; other != "" || !conversation.IsCommandsStream(shard.CommandsStream()) {
			t.Errorf("shard %q: the stream is %s, as that of %q", name, shard.CommandsStream(), other)
		}
		streams[shard.CommandsStream()] = name
		for _, app := range []string{"", "demo"} {
			if got := conversation.SubjectShard(shard.CommandSubject(app)); got != shard {
				t.Errorf("SubjectShard(%q) = %q; want %q", shard.CommandSubject(app), got, shard)
			}
		}
	}
	for _, name := range []string{"", "A", "a_b", "a.b", "*", "ä", "a b", strings.Repeat("x", 33)} {
		if shard, err := conversation.ParseShard(name); err == nil {
			t.Errorf("ParseShard(%q) = %q; want an error", name, shard)
		}
	}
	for _, subject := range []string{"conversation.delete.demo", "conversation.delete", "conversation.shard.eu", "conversation.shard.EU.delete.demo"} {
		if got := conversation.SubjectShard(subject); got != "" {
			t.Errorf("SubjectShard(%q) = %q; want none", subject, got)
		}
	}
}

func BenchmarkEscapeToken(b *testing.B) {
	for name, id := range map[string]string{"plain": "alice-phone_42", "escaped": "alice@example.org", "all": "😀😀😀😀"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				conversation.EscapeToken(id)
			}
		})
	}
}

func BenchmarkUnescapeToken(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conversation.UnescapeToken("alice%40example%2Eorg"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDeletedID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		conversation.DeletedID("demo", "01JD8Z7K4W3V9Q2M5N6P7R8S9T", "c2c_bob")
	}
}
