package repo

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// planLine is the plan's entry that an error tells to add, and where.
var planLine = regexp.MustCompile(`add to ([a-z_\[\]0-9.]+): (\{.*)`)

// Whoever does what the check says, all of it and again until it is content, finds
// the rows of other owners as they were.
func TestAdviceTakesNothingFromOthers(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		sql     string
		entries bool   // the plan's entries are taken, and not the statements beside them
		left    string // what a count of the table's rows finds in the end
	}{
		"a_child_of_a_child": {
			`alter table social.likes add number int generated always as identity unique; create table social.more (like_id int not null references social.likes (number)); create index on social.more (like_id);
			create function social.note() returns trigger language plpgsql as $$ begin insert into social.more values (new.number); return null; end $$;
			create trigger note after insert on social.likes for each row execute function social.note()`,
			true, "26",
		},
		"a_child_of_a_child_of_a_child": {
			`alter table social.likes add number int generated always as identity unique;
			create table social.notes (id int generated always as identity primary key, like_id int not null references social.likes (number)); create index on social.notes (like_id);
			create table social.more (note_id int not null references social.notes); create index on social.more (note_id);
			create function social.note() returns trigger language plpgsql as $$ begin insert into social.notes (like_id) values (new.number); return null; end $$;
			create trigger note after insert on social.likes for each row execute function social.note();
			create function social.remark() returns trigger language plpgsql as $$ begin insert into social.more values (new.id); return null; end $$;
			create trigger remark after insert on social.notes for each row execute function social.remark()`,
			true, "26",
		},
		"what_belongs_to_the_conversations": {
			`create table social.more (member varchar(40) not null, thread uuid not null, foreign key (thread, member) references social.thread_members); create index on social.more (thread, member);
			create function social.note() returns trigger language plpgsql as $$ begin insert into social.more values (new.member, new.thread); return null; end $$;
			create trigger note after insert on social.thread_members for each row execute function social.note()`,
			true, "1",
		},
		"a_child_of_a_child_by_the_messages_key": {
			`create table social.more (owner bigint, thread uuid, position int, name varchar(100), primary key (owner, thread, position, name),
				foreign key (owner, thread, position, name) references social.files (owner, thread, position, name));
			create function social.note() returns trigger language plpgsql as $$ begin insert into social.more values (new.owner, new.thread, new.position, new.name); return null; end $$;
			create trigger note after insert on social.files for each row execute function social.note()`,
			true, "13",
		},
		"parts_of_messages": {
			`create table social.more (post bigint not null references social."Post"); create index on social.more (post);
			create function social.note() returns trigger language plpgsql as $$ begin insert into social.more values (new.id); return null; end $$;
			create trigger note after insert on social."Post" for each row execute function social.note()`,
			true, "40",
		},
		"what_only_refers_to_messages": {
			`create table social.more (post bigint not null references social."Post"); create index on social.more (post);
			create function social.note() returns trigger language plpgsql as $$ begin insert into social.more values (new.id); return null; end $$;
			create trigger note after insert on social."Post" for each row execute function social.note()`,
			false, "80",
		},
		"marks_of_what_was_read_last": {
			`create table social.more (member text primary key, last_read bigint references social."Post"); create index on social.more (last_read);
			create function social.note() returns trigger language plpgsql as $$ begin
				insert into social.more values (15 - new.owner, new.id) on conflict (member) do update set last_read = excluded.last_read; return null; end $$;
			create trigger note after insert on social."Post" for each row execute function social.note()`,
			true, "2",
		},
		"what_refers_to_the_conversations": {
			`create table social.more (member varchar(40), thread uuid, foreign key (thread, member) references social.thread_members); create index on social.more (thread, member);
			create function social.note() returns trigger language plpgsql as $$ begin insert into social.more values (new.member, new.thread); return null; end $$;
			create trigger note after insert on social.thread_members for each row execute function social.note()`,
			true, "2",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := newLedger(t)
			pool := openPool(t, url)
			execSQL(t, pool, socialTables+c.sql)
			fillSocial(t, &Repo{pool: pool}, 40, 7, 8)
			social, err := plan.Parse([]byte(socialPlan))
			if err != nil {
				t.Fatal(err)
			}
			var r *Repo
			for range 8 {
				if r, err = Open(t.Context(), Config{URL: url, Plan: social}); err == nil {
					break
				}
				entries := planLine.FindAllStringSubmatch(err.Error(), -1)
				for _, m := range entries {
					if c.entries {
						addEntry(t, &social, m[1], m[2])
					}
				}
				if len(entries) == 0 || !c.entries {
					for _, m := range mend.FindAllStringSubmatch(err.Error(), -1) {
						execSQL(t, pool, m[1])
					}
				}
			}
			if err != nil {
				t.Fatalf("after what the errors said: %v", err)
			}
			defer r.Close()
			digest := func() string {
				return queryOne[string](t, pool, `select md5(concat_ws('|', (select string_agg(p::text, ',' order by p.id) from social."Post" p where p.owner = 8),
					(select string_agg(f::text, ',' order by f::text) from social.files f where f.owner = 8), (select string_agg(m::text, ',') from social.thread_members m where m.member = '8'),
					(select string_agg(l::text, ',' order by l::text) from social.likes l join social."Post" p on p.id = l.post_id where p.owner = 8)))`)
			}
			before := digest()
			carry := carryOut
			if r.Single() {
				carry = func(tb testing.TB, r *Repo, d purge.Deletion, limit int) purge.Record {
					tb.Helper()
					rec, _ := stepThrough(tb, r, d, limit)
					return rec
				}
			}
			if rec := carry(t, r, removal("c", nil), 7); rec.State != purge.Done || rec.MessagesDeleted != 40 {
				t.Errorf("record = %+v; want done with 40 messages", rec)
			}
			if digest() != before {
				t.Error("rows of the other owner are not as they were")
			}
			if got := fmt.Sprint(queryOne[int](t, pool, `select count(*) from social.more`)); got != c.left {
				t.Errorf("%s rows that refer are left; want %s", got, c.left)
			}
			if got := socialLeft(t, r, 7); !strings.HasPrefix(got, "0 posts, 0 likes, 0 files, 0 mentions, 0 rows") {
				t.Errorf("left %s", got)
			}
		})
	}
}

// addEntry adds an entry to a list of the plan, before the others: it may refer to one of them.
func addEntry(t *testing.T, p *plan.Plan, path, text string) {
	t.Helper()
	end, depth := 0, 0
	for i, r := range text {
		switch r {
		case '{':
			depth++
		case '}':
			depth--
		}
		if end = i + 1; depth == 0 {
			break
		}
	}
	item := "  - " + text[:end] + "\n"
	whole, conversations := socialPlan+item, strings.HasPrefix(path, "conversations")
	if conversations {
		whole = strings.Replace(socialPlan, "children:\n", "  children:\n  "+item+"children:\n", 1)
	}
	parsed, err := plan.Parse([]byte(whole))
	if err != nil {
		t.Fatalf("%s: %v", item, err)
	}
	list, entry := &p.Conversations.Children, plan.Entry{}
	if conversations {
		entry = parsed.Conversations.Children[0]
	} else {
		list, entry = &p.Children, parsed.Children[len(parsed.Children)-1]
		for _, m := range regexp.MustCompile(`(?:children|parents)\[(\d+)\]`).FindAllStringSubmatch(path, -1) {
			i, err := strconv.Atoi(m[1])
			if err != nil {
				t.Fatal(err)
			}
			list = &(*list)[i].Children
		}
	}
	*list = append([]plan.Entry{entry}, *list...)
}

func TestAConnectionErrorIsOneLineWithoutRepetitions(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"failed to connect to `user=a database=b`:\n\t127.0.0.1:5432 (localhost): tls error: server refused TLS connection\n\t127.0.0.1:5432 (localhost): server error: FATAL: no such database": "failed to connect to `user=a database=b`: 127.0.0.1:5432 (localhost): server error: FATAL: no such database",
		"failed to connect to `user=a database=b`: 10.0.0.1:5432 (db): tls error: server refused TLS connection":                                                                                 "failed to connect to `user=a database=b`: 10.0.0.1:5432 (db): tls error: server refused TLS connection",
		"failed:\n\tdial 127.0.0.1:1: refused\n\tdial 127.0.0.1:1: refused\n\tdial [::1]:1: refused":                                                                                             "failed: dial 127.0.0.1:1: refused; dial [::1]:1: refused",
		"first\nsecond": "first; second",
	} {
		if got := oneLine(errors.New(text)).Error(); got != want {
			t.Errorf("oneLine(%q) = %q; want %q", text, got, want)
		}
	}
	_, err := Open(t.Context(), Config{URL: "postgres://nobody@127.0.0.1:1/away", Plan: plan.Bundled()})
	if err == nil || strings.ContainsAny(err.Error(), "\n\t") || strings.Count(err.Error(), "refused") != 1 {
		t.Errorf("Open = %q; want one line with one reason", err)
	}
}
