package repo

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// shape is a plan with its tables; each is the plain one and something more.
type shape struct {
	name      string
	sql, fill string // tables beside posts, threads and bodies, and what fills them; $1: how many owners, $2: how many posts each has
	body      bool   // posts refer to bodies
	messages  string // of the plan's entry of messages
	rest      string // of the plan
	old, new  string // what stands otherwise in the plan
}

var shapes = []shape{
	{name: "plain"},
	{
		name: "constant", sql: `alter table s.posts add kind text not null default 'chat';`,
		messages: "  where: {kind: chat}\n",
	},
	{
		name: "split", old: "messages:\n  table: s.posts\n  user: owner\n", new: "ids:\n  name: {split: user, at: '@', part: 1}\nmessages:\n  table: s.posts\n  where: {owner: $name}\n",
	},
	{
		name: "lookup", sql: `create table s.users (id bigint primary key, login text not null unique);`,
		fill: `insert into s.users select i, i from generate_series(1, $1::int) i`,
		old:  "messages:\n  table: s.posts\n  user: owner\n", new: "ids:\n  owner: {lookup: s.users, where: {login: $user}, column: id}\nmessages:\n  table: s.posts\n  where: {owner: $owner}\n",
	},
	{
		name: "time as the position", sql: `create index on s.posts (owner, thread, at);`,
		fill: `update s.posts set at = now() - interval '30 days' + seq * interval '1 second'`,
		old:  "  seq: seq\n  sent_at: at\n", new: "  seq: at\n",
	},
	{
		name: "no conversations", old: "conversations:\n  table: s.threads\n  user: owner\n  conversation: thread\n  unread: unread\n", new: "",
	},
	{
		name: "child", sql: `create table s.likes (id bigint generated always as identity primary key, post bigint references s.posts); create index on s.likes (post);`,
		fill: `insert into s.likes (post) select id from s.posts where seq % 10 = 0`,
		rest: "children:\n  - {table: s.likes, references: {column: post, to: id}}\n",
	},
	{
		name: "child of a child", sql: `create table s.files (id bigint generated always as identity primary key, post bigint references s.posts); create index on s.files (post);
			create table s.blobs (id bigint generated always as identity primary key, file bigint references s.files); create index on s.blobs (file);`,
		fill: `insert into s.files (post) select id from s.posts where seq % 10 = 0; insert into s.blobs (file) select id from s.files`,
		rest: "children:\n  - table: s.files\n    references: {column: post, to: id}\n    children:\n      - {table: s.blobs, references: {column: file, to: id}}\n",
	},
	{
		name: "polymorphic child", sql: `create table s.notes (id bigint generated always as identity primary key, kind text, of text); create index on s.notes (kind, of);`,
		fill: `insert into s.notes (kind, of) select 'Post', id::text from s.posts where seq % 10 = 0`,
		rest: "children:\n  - {table: s.notes, where: {kind: Post}, references: {column: of, to: id}}\n",
	},
	{
		name: "child that is set", sql: `create table s.pins (id bigint generated always as identity primary key, post bigint references s.posts); create index on s.pins (post);`,
		fill: `insert into s.pins (post) select id from s.posts where seq % 10 = 0`,
		rest: "children:\n  - {table: s.pins, references: {column: post, to: id}, set: {post: null}}\n",
	},
	{
		name: "conversation's child", sql: `create table s.members (owner bigint, thread text, who int, primary key (owner, thread, who));`,
		fill: `insert into s.members select o, 'a', w from generate_series(1, $1::int) o, generate_series(1, 3) w where $2::int > 0`,
		rest: "  children:\n    - {table: s.members, user: owner, conversation: thread}\n",
	},
	{
		name: "parent that goes", body: true,
		fill:     `create index on s.posts (body)`,
		messages: "  parents:\n    - {table: s.bodies, references: {column: body, to: id}}\n",
	},
	{
		name: "parent that others keep", body: true,
		fill:     `create index on s.posts (body); insert into s.posts (owner, thread, seq, body) select -owner, thread, seq, body from s.posts`,
		messages: "  parents:\n    - {table: s.bodies, references: {column: body, to: id}}\n",
	},
}

func newShape(b *testing.B, c shape, owners, each int) *Repo {
	b.Helper()
	url := newLedger(b)
	pool, key, column, value := openPool(b, url), "", "", ""
	if c.body {
		key, column, value = ", body bigint references s.bodies", ", body", ", (o - 1) * $2::int + i"
	}
	execSQL(b, pool, `create schema s; create table s.bodies (id bigint primary key, text text);
		create table s.posts (id bigint generated always as identity primary key, owner bigint not null, thread text not null, seq bigint not null,
			at timestamptz not null default now() - interval '1 hour', text text default repeat('x', 200)`+key+`, unique (owner, thread, seq));
		create table s.threads (owner bigint, thread text, unread int default 0, primary key (owner, thread));`+c.sql)
	run := func(sql string) {
		for s := range strings.SplitSeq(sql, ";") {
			var args []any
			for i, v := range []int{owners, each} {
				if strings.Contains(s, fmt.Sprintf("$%d", i+1)) {
					args = append(args, v)
				}
			}
			if strings.TrimSpace(s) != "" {
				execSQL(b, pool, s, args...)
			}
		}
	}
	run(`insert into s.bodies select i, repeat('x', 200) from generate_series(1, $1::int * $2::int) i`)
	run(`insert into s.posts (owner, thread, seq` + column + `) select o, 'a', i` + value + ` from generate_series(1, $1::int) o, generate_series(1, $2::int) i`)
	run(`insert into s.threads (owner, thread) select o, 'a' from generate_series(1, $1::int) o`)
	run(c.fill)
	execSQL(b, pool, `vacuum (analyze)`)
	execSQL(b, pool, `checkpoint`)
	text := "tenant: solo\nmessages:\n  table: s.posts\n  user: owner\n  conversation: thread\n  seq: seq\n  sent_at: at\n" + c.messages +
		"conversations:\n  table: s.threads\n  user: owner\n  conversation: thread\n  unread: unread\n" + c.rest
	p, err := plan.Parse([]byte(strings.Replace(text, c.old, c.new, 1)))
	if err != nil {
		b.Fatal(err)
	}
	return openRepo(b, Config{URL: url, Plan: p})
}

// BenchmarkShapes measures what each feature of a plan costs beside the plain shape: deletions of 20 messages, one
// after the other, in bulk where the plan goes that way and by steps; and one of 10,000, by steps of 2,000.
func BenchmarkShapes(b *testing.B) {
	for _, c := range shapes {
		b.Run(c.name+"/bulk=64", func(b *testing.B) {
			const size = 64
			batches := (b.N + size - 1) / size
			r := newShape(b, c, batches*size, benchEach)
			if r.Single() {
				b.Skip("goes by steps alone")
			}
			b.ResetTimer()
			for i := range batches {
				ds := make([]purge.Deletion, size)
				for j := range ds {
					ds[j] = ofOwner(ownersDeletion("c", "a", 1<<62), 1+i*size+j)
				}
				if res, err := r.Bulk(b.Context(), purge.Batch{Deletions: ds, Budget: purge.Budget{PerDeletion: 1000, Rows: 50_000}}); err != nil || !res.Finished[0] {
					b.Fatal(res.Finished[0], err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(batches*size), "us/deletion")
		})
		b.Run(c.name+"/step", func(b *testing.B) {
			r := newShape(b, c, b.N, benchEach)
			b.ResetTimer()
			for i := range b.N {
				if rec, _ := stepThrough(b, r, ofOwner(ownersDeletion("c", "a", 1<<62), 1+i), 1000); rec.MessagesDeleted != benchEach {
					b.Fatalf("%+v", rec)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N), "us/deletion")
		})
		b.Run(c.name+"/long", func(b *testing.B) {
			const each = 10_000
			r := newShape(b, c, b.N, each)
			b.ResetTimer()
			for i := range b.N {
				d := ofOwner(ownersDeletion("c", "a", 1<<62), 1+i)
				if rec, _ := stepThrough(b, r, d, 2000); rec.MessagesDeleted != each {
					b.Fatalf("%+v", rec)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*each), "us/message")
		})
	}
}
