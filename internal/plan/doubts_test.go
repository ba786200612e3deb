package plan

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

// doubt is a schema and a plan that fit, and hide a mistake. What the warning says settles it.
type doubt struct {
	sql     string // run after socialTables
	edit    func(p *Plan)
	warned  string // part of the warning; "" for none
	stays   string // part of a warning before it, which goes with it
	settled string // what an operator puts in the place of …
	follow  func(p *Plan)
}

var doubts = map[string]doubt{
	"a_table_that_refers_to_messages_by_its_name": {
		sql:    `create table social.stars (id int primary key, "PostID" bigint not null); create index on social.stars ("PostID")`,
		warned: `table "social"."stars" is not in the plan, and its rows stay: by its name, column "PostID" refers to "id" of social.Post; if they belong to it, add to children: {table: social.stars, references: {column: PostID, to: id}}`,
	},
	"a_table_with_a_foreign_key_to_another": {
		sql: `create table social.mails (id int primary key); create table social.stars (message_id int references social.mails)`,
	},
	"a_table_with_the_messages_columns_that_refers_to_people_of_the_conversation": {
		sql: `create table social.people (thread uuid, who bigint unique, unique (thread, who)); alter table social."Post" add foreign key (owner) references social.people (who);
			create table social.stars (owner bigint not null, thread uuid not null, position int not null, foreign key (thread, owner) references social.people (thread, who), primary key (owner, thread, position))`,
		warned: `table "social"."stars" is not in the plan, and its rows stay: it has the messages' columns "owner", "thread", "position"; if its rows go with them, add to children: {table: social.stars, where: {owner: $user, thread: $conversation}, seq: position}`,
	},
	"a_table_to_which_the_messages_refer_with_all_their_ids": {
		sql: `create table social.chats (owner bigint not null, id uuid not null, muted boolean, primary key (owner, id));
			alter table social."Post" add constraint post_chat foreign key (thread, owner) references social.chats (id, owner)`,
		edit:   func(p *Plan) { p.Conversations = Entry{} },
		warned: `table "social"."chats" is not in the plan, and its rows stay: the messages refer to it by foreign key "post_chat" with all that says whose conversation it is; if it has a row for each conversation of each user, add conversations: {table: social.chats, user: owner, conversation: id}`,
		follow: func(p *Plan) {
			p.Conversations = Entry{Table: "social.chats", Columns: Columns{User: "owner", Conversation: "id"}}
		},
	},
	"a_table_to_which_the_messages_refer_by_some_of_their_ids": {
		sql:  `create table social.rooms (kind text, id uuid, primary key (kind, id)); alter table social."Post" add kind text, add foreign key (kind, thread) references social.rooms`,
		edit: func(p *Plan) { p.Conversations = Entry{} },
	},
	"a_table_whose_column_has_another_type": {sql: `create table social.stars (message_id uuid)`},
	"a_table_of_another_schema":             {sql: `create schema if not exists elsewhere; create table elsewhere.social_stars (message_id int)`},
	"a_partition_of_a_table_that_is_named_once": {
		sql:    `create table social.stars (message_id int not null) partition by range (message_id); create table social.stars_1 partition of social.stars for values from (1) to (2); create index on social.stars (message_id)`,
		warned: `table "social"."stars" is not in the plan`,
	},
	"a_table_with_the_messages_columns": {
		sql:    `create table social.stars (owner bigint, thread uuid, position int not null, primary key (owner, thread, position))`,
		warned: `table "social"."stars" is not in the plan, and its rows stay: it has the messages' columns "owner", "thread", "position"; if its rows go with them, add to children: {table: social.stars, where: {owner: $user, thread: $conversation}, seq: position}`,
	},
	"a_table_with_the_messages_columns_but_a_key_of_its_own": {
		sql: `drop table social.files; create index on social."Post" (owner, thread, id); create table social.stars (id bigint primary key, owner bigint not null, thread uuid not null, unique (owner, thread))`,
		edit: func(p *Plan) {
			p.Messages.Seq.Column = "id"
			p.Children = slices.Delete(p.Children, 1, 2)
		},
		warned: `table "social"."stars" is not in the plan, and its rows stay: it has the messages' columns "owner", "thread"; if its rows go with the conversation, add to conversations.children: {table: social.stars, where: {owner: $user, thread: $conversation}}`,
	},
	"a_table_of_members": {
		sql:    `create table social.participants (owner bigint not null, thread uuid not null, joined int, primary key (owner, thread))`,
		warned: `table "social"."participants" is not in the plan`,
		stays:  `messages: table "social"."participants" lists the users of conversations, so that column owner of the messages may be who sent one`,
		follow: func(p *Plan) {
			p.Conversations.Children = append(p.Conversations.Children, parseEntry("{table: social.participants, where: {owner: $user, thread: $conversation}}", "a conversation's child"))
		},
	},
	"a_table_of_several_kinds_of_things": {
		sql:    `create table social.versions (item_type text not null, item_id bigint not null, primary key (item_type, item_id))`,
		warned: `table "social"."versions" is not in the plan, and its rows stay: "item_type" and "item_id" name rows of several tables; if some are of social.Post and go with it, add to children: {table: social.versions, where: {item_type: Post}, references: {column: item_id, to: id}} with what "item_type" says for it`,
	},
	"a_reference_to_several_tables_without_a_condition": {
		sql:     `create table social.taggings (tagged_type text not null, tagged_id bigint not null); create index on social.taggings (tagged_id, tagged_type)`,
		edit:    addChild("{table: social.taggings, references: {column: tagged_id, to: id}}"),
		warned:  `children[3]: by their names, "tagged_type" and "tagged_id" of "social"."taggings" refer to rows of several tables, and no condition says of which: rows that belong to another table's row of the same number would go; add to where: {tagged_type: …}`,
		settled: "Post",
	},
	"a_reference_to_several_tables_with_a_condition": {
		sql:  `create table social.taggings (tagged_type text not null, tagged_id bigint not null); create index on social.taggings (tagged_id, tagged_type)`,
		edit: addChild("{table: social.taggings, references: {column: tagged_id, to: id}, where: {tagged_type: Post}}"),
	},
	"a_column_that_tells_archives_apart": {
		sql:     `alter table social."Post" add store text not null default 'archive'; create index on social."Post" (owner, store, thread, position)`,
		warned:  `messages: column "store" of "social"."Post" seems to tell kinds of rows apart (it is in index "Post_owner_store_thread_position_idx"), and no condition names it: rows of every kind go; if they aren't all meant, add to where: {store: …}`,
		settled: "archive",
	},
	"a_kind_that_a_key_counts_on": {
		sql:     `alter table social."Post" add kind int not null default 1; create unique index k on social."Post" (thread, owner, kind, body)`,
		warned:  `messages: column "kind" of "social"."Post" seems to tell kinds of rows apart (it is in index "k")`,
		settled: "1",
	},
	"an_enum_amid_an_index": {
		sql:     `create type social.kind as enum ('chat', 'call'); alter table social."Post" add k social.kind not null default 'chat'; create index on social."Post" (owner, k, thread, position)`,
		warned:  `messages: column "k" of "social"."Post" seems to tell kinds of rows apart (it is in index "Post_owner_k_thread_position_idx")`,
		settled: "chat",
	},
	"a_boolean_of_a_key": {
		sql:     `alter table social.thread_members add is_group boolean not null default false, drop constraint thread_members_pkey, add primary key (thread, member, is_group)`,
		warned:  `conversations: column "is_group" of "social"."thread_members" seems to tell kinds of rows apart (it is in index "thread_members_pkey")`,
		stays:   `conversations: several rows of "social"."thread_members" may be of one conversation`,
		settled: "false",
	},
	"a_boolean_at_the_end_of_an_index": {
		sql: `alter table social."Post" add flagged boolean not null default false; create index on social."Post" (owner, thread, flagged)`,
	},
	"rows_that_are_marked_as_deleted": {
		sql:    `alter table social."Post" add deleted_at timestamptz`,
		edit:   func(p *Plan) { p.Messages.Where = []Pair{{"deleted_at", Value{Kind: Null}}} },
		warned: `messages: by its name, column "deleted_at" of "social"."Post" marks rows as deleted, and those with another value than null would stay`,
		follow: func(p *Plan) { p.Messages.Where = nil },
	},
	"a_position_that_is_used_twice": {
		sql:    `drop table social.files; alter table social."Post" add version int not null default 1; create index on social."Post" (owner, thread, version)`,
		edit:   func(p *Plan) { p.Messages.Seq.Column, p.Children = "version", slices.Delete(p.Children, 1, 2) },
		warned: `messages.seq: no unique index keeps two messages of a conversation from having the same "version", and a message that is newer than the command goes with an older one of the same position; name a column that is never used twice, or if this one isn't, run: create unique index concurrently on "social"."Post" ("owner", "thread", "version")`,
	},
	"a_table_of_members_that_refers_to_what_messages_refer_to": {
		sql: `create table social.people (id bigint primary key); alter table social."Post" add foreign key (owner) references social.people;
			create table social.participants (owner bigint not null references social.people, thread uuid not null, primary key (owner, thread))`,
		warned: `table "social"."participants" is not in the plan`,
		stays:  `messages: table "social"."participants" lists the users of conversations, so that column owner of the messages may be who sent one`,
		follow: func(p *Plan) {
			p.Conversations.Children = append(p.Conversations.Children, parseEntry("{table: social.participants, where: {owner: $user, thread: $conversation}}", "a conversation's child"))
		},
	},
	"conversations_of_members": {
		sql:    `alter table social."Post" rename owner to user_id`,
		edit:   func(p *Plan) { p.Messages.User = "user_id" },
		warned: `messages: table "social"."thread_members" lists the users of conversations, so that column user_id of the messages may be who sent one`,
		follow: func(p *Plan) { p.Conversations = Entry{} },
	},
	"a_table_that_refers_to_the_position_by_another_name": {
		sql:    `create table social.stars (id bigint primary key, owner bigint not null, thread uuid not null, message_id bigint not null); create index on social.stars (owner, thread, message_id); alter table social.likes drop constraint likes_post_id_fkey; alter table social."Post" drop constraint "Post_pkey"`,
		edit:   func(p *Plan) { p.Children = p.Children[1:2] },
		warned: `it has the messages' columns "owner", "thread", "message_id"; if its rows go with them, add to children: {table: social.stars, where: {owner: $user, thread: $conversation}, seq: message_id}`,
	},
	"rows_of_messages_that_go_with_the_conversation": {
		sql: `create table social.stars (owner bigint not null, thread uuid not null, message_id bigint not null, primary key (owner, thread, message_id))`,
		edit: func(p *Plan) {
			p.Conversations.Children = []Entry{parseEntry("{table: social.stars, where: {owner: $user, thread: $conversation}}", "a conversation's child")}
		},
		warned: `conversations.children[0]: by its name, column "message_id" of "social"."stars" has a message's position, and its rows would go with the conversation's row only; if they belong to messages, move the entry to children, and add seq: message_id`,
		follow: func(p *Plan) {
			p.Children = append(p.Children, parseEntry("{table: social.stars, where: {owner: $user, thread: $conversation}, seq: message_id}", "a child"))
			p.Conversations.Children = nil
		},
	},
	"a_kind_of_message_that_is_in_a_plain_index": {
		sql: `alter table social."Post" add kind int not null default 1; create index on social."Post" (thread, owner, kind)`,
	},
	"a_box_of_a_conversation_that_has_one_row": {
		sql: `alter table social.thread_members add box text; create index on social.thread_members (member, box)`,
	},
	"a_user_who_is_the_sender": {
		sql:    `alter table social."Post" add "senderId" bigint not null default 1; create unique index on social."Post" ("senderId", thread, position)`,
		edit:   func(p *Plan) { p.Messages.User = "senderId" },
		warned: `messages: by its name, column "senderId" of "social"."Post" is who sent the message, and not whose copy it is: a deletion would take what its user has sent from everybody`,
		follow: func(p *Plan) { p.Messages.User = "owner" },
	},
	"a_trigger_that_may_rewrite_the_conversation": {
		sql: `create function social.touch() returns trigger language plpgsql as $$ begin new.unseen := 1; return new; end $$;
			create trigger touch before update on social.thread_members for each row execute function social.touch()`,
		warned: `conversations: trigger "touch" of "social"."thread_members", with function social.touch, fires before each row is updated: what it writes stands instead of what the plan says`,
		follow: func(p *Plan) { p.Conversations.Unread = "" },
	},
}

func addChild(entry string) func(p *Plan) {
	return func(p *Plan) { p.Children = append(p.Children, parseEntry(entry, "a child")) }
}

// What is legal and dangerous is told, once, and nothing else; and whoever does what is said hears no more of it.
func TestDoubts(t *testing.T) {
	t.Parallel()
	pool := openPool(t)
	if got := openCase(t, pool, "plain_social", "")(t, nil); len(got) > 0 {
		t.Fatalf("the social plan has the warnings %q; want none", got)
	}
	n := 0
	for name, d := range doubts {
		n++
		schemaName := fmt.Sprint("doubt", n)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check := openCase(t, pool, schemaName, d.sql)
			got := check(t, d.edit)
			if d.warned == "" {
				if len(got) > 0 {
					t.Errorf("warnings = %q; want none", got)
				}
				return
			}
			if d.stays != "" {
				if len(got) != 2 || !strings.Contains(got[0], inSchema(d.stays, schemaName)) {
					t.Fatalf("warnings = %q; want two, the first of which says: %s", got, d.stays)
				}
				got = got[1:]
			}
			if want := inSchema(d.warned, schemaName); len(got) != 1 || !strings.Contains(got[0], want) {
				t.Fatalf("warnings = %q; want one that says: %s", got, want)
			}
			after := check(t, func(p *Plan) {
				if d.edit != nil {
					d.edit(p)
				}
				if d.follow != nil {
					d.follow(p)
					return
				}
				follow(t, pool, p, got[0], d.settled)
			})
			if len(after) > 0 {
				t.Errorf("after what it said, warnings = %q; want none", after)
			}
		})
	}
}

func inSchema(s, schemaName string) string {
	return regexp.MustCompile(`\bsocial\b`).ReplaceAllString(s, schemaName)
}

// openCase makes the social tables in a schema, and returns what checks the social plan and gives its warnings.
func openCase(t *testing.T, pool *pgxpool.Pool, schemaName, more string) func(t *testing.T, edit func(p *Plan)) []string {
	t.Helper()
	execSQL(t, pool, inSchema(socialTables+more, schemaName))
	return func(t *testing.T, edit func(p *Plan)) []string {
		t.Helper()
		p, err := Parse([]byte(inSchema(socialPlan, schemaName)))
		if err != nil {
			t.Fatal(err)
		}
		if edit != nil {
			edit(&p)
			p.Conversations.Table = inSchema(p.Conversations.Table, schemaName)
			for _, list := range [][]Entry{p.Children, p.Conversations.Children} {
				for i := range list {
					list[i].Table = inSchema(list[i].Table, schemaName)
				}
			}
		}
		s, err := Check(t.Context(), pool, p, Options{Neighbors: true, AllowUnindexed: true})
		if err != nil {
			t.Fatal(err)
		}
		return s.Warnings
	}
}
