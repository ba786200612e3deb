package repo

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

const pointerTables = `create table public.bodies (id serial primary key, realm int not null default 1, topic int not null, at timestamptz not null, unique (realm, topic, id));
	create index on public.bodies (realm, topic, at);
	create table public.copies (id bigserial primary key, owner int not null, body int not null references public.bodies deferrable initially deferred, unique (owner, body));
	create index on public.copies (body);
	create table public.reactions (id serial primary key, body int not null references public.bodies deferrable initially deferred); create index on public.reactions (body);
	create table public.files (id serial primary key, name text);
	create table public.links (id serial primary key, body int not null references public.bodies deferrable initially deferred, file int not null references public.files deferrable initially deferred);
	create index on public.links (body); create index on public.links (file);
	create table public.stars (copy bigint references public.copies); create index on public.stars (copy)`

const pointerPlan = `tenant: demo
messages:
  table: copies
  user: owner
  parents:
    - table: bodies
      references: {column: body, to: id}
      where: {realm: 1}
      conversation: topic
      seq: %s
      sent_at: at
      children:
        - {table: reactions, references: {column: body, to: id}}
        - table: links
          references: {column: body, to: id}
          parents: [{table: files, references: {column: file, to: id}}]
children:
  - {table: stars, references: {column: copy, to: id}}
`

func newPointers(tb testing.TB, seq string) *Repo {
	tb.Helper()
	url := newLedger(tb)
	execSQL(tb, openPool(tb, url), pointerTables)
	p, err := plan.Parse(fmt.Appendf(nil, pointerPlan, seq))
	if err != nil {
		tb.Fatal(err)
	}
	return openRepo(tb, Config{URL: url, Plan: p})
}

// What random owners delete of what all of them have goes for them, and with the last of them for good.
func TestPointersAndWhatTheyPointTo(t *testing.T) {
	t.Parallel()
	for _, seq := range []string{"id", "at"} {
		for seed := range uint64(3) {
			t.Run(fmt.Sprintf("by_%s/%d", seq, seed), func(t *testing.T) {
				t.Parallel()
				r, rng := newPointers(t, seq), rand.New(rand.NewPCG(seed, 7))
				pointersAgainstAModel(t, r, rng, seq)
			})
		}
	}
}

func pointersAgainstAModel(t *testing.T, r *Repo, rng *rand.Rand, seq string) {
	t.Helper()
	type body struct {
		topic int
		pos   int64
		sent  time.Time
		files []int
	}
	bodies, copies, links := map[int]body{}, map[int]map[int]bool{}, map[int]map[int]bool{} // owners of a body; bodies of a file
	base := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	execSQL(t, r.pool, `insert into files (name) select 'f' from generate_series(1, 15)`)
	for id := 1; id <= 120; id++ {
		b := body{topic: rng.IntN(2), pos: int64(id), sent: base.Add(time.Duration(id/4) * time.Second)}
		if seq == "at" {
			b.pos = b.sent.UnixMicro()
		}
		execSQL(t, r.pool, `insert into bodies (topic, at) values ($1, $2)`, b.topic, b.sent)
		copies[id] = map[int]bool{}
		for owner := range 3 {
			if rng.IntN(4) > 0 || owner == id%3 {
				copies[id][owner] = true
				execSQL(t, r.pool, `with c as (insert into copies (owner, body) values ($1, $2) returning id) insert into stars select id from c where $2 % 5 = 0`, owner, id)
			}
		}
		execSQL(t, r.pool, `insert into reactions (body) select $1 from generate_series(1, $2)`, id, rng.IntN(3))
		if rng.IntN(2) == 0 {
			file := rng.IntN(15) + 1
			b.files = append(b.files, file)
			if links[file] == nil {
				links[file] = map[int]bool{}
			}
			links[file][id] = true
			execSQL(t, r.pool, `insert into links (body, file) values ($1, $2)`, id, file)
		}
		bodies[id] = b
	}
	files := map[int]bool{} // those that stay: with a link, or never linked
	for f := range 15 {
		files[f+1] = links[f+1] == nil
	}
	for i := range 12 {
		owner, topic, replayed := rng.IntN(3), rng.IntN(2), i%4 == 3
		stored := base.Add(time.Duration(rng.IntN(40)) * time.Second)
		d := purge.Deletion{Key: purge.Key{App: "demo", Command: fmt.Sprint(i), User: fmt.Sprint(owner), Conversation: fmt.Sprint(topic)}, StoredAt: stored, Token: tokens()}
		boundary, n, newer := int64(0), 0, false
		for id, b := range bodies {
			if b.topic == topic && copies[id][owner] && !b.sent.After(stored) {
				boundary = max(boundary, b.pos)
			}
		}
		for id, b := range bodies {
			switch {
			case b.topic != topic || !copies[id][owner]:
			case b.pos > boundary:
				newer = true
			default:
				n++
				delete(copies[id], owner)
				if len(copies[id]) > 0 {
					continue
				}
				delete(bodies, id)
				for _, f := range b.files {
					if delete(links[f], id); len(links[f]) == 0 {
						delete(links, f)
					}
				}
			}
		}
		if replayed {
			told := purge.Reported{Record: purge.Record{Key: d.Key, State: purge.Done, ThroughSeq: boundary, CompletedAt: stored}}
			if got := redo(t, r.Replayer(), told, 1+rng.IntN(9)); got != n {
				t.Errorf("a replay deletes %d messages; want %d", got, n)
			}
		} else if rec, _ := stepThrough(t, r, d, 1+rng.IntN(9)); rec.State != purge.Done || rec.ThroughSeq != boundary || rec.MessagesDeleted != int64(n) || !rec.ConversationRemoved {
			t.Errorf("record = %+v; want done through %d with %d messages (newer: %t)", rec, boundary, n, newer)
		}
		if kept, err := r.Kept(t.Context(), d); err != nil || kept.Any() {
			t.Errorf("kept = %+v, %v; want nothing", kept, err)
		}
		if _, err := r.Tables(t.Context(), d); err != nil {
			t.Error(err)
		}
	}
	var left []int
	for id := range bodies {
		left = append(left, id)
	}
	slices.Sort(left)
	if diff := cmp.Diff(left, queryOne[[]int](t, r.pool, `select coalesce(array_agg(id order by id), '{}') from bodies`)); diff != "" {
		t.Errorf("bodies left (-want +got):\n%s", diff)
	}
	for f := range links {
		files[f] = true
	}
	maps.DeleteFunc(files, func(_ int, stays bool) bool { return !stays })
	if diff := cmp.Diff(slices.Sorted(maps.Keys(files)), queryOne[[]int](t, r.pool, `select array_agg(id order by id) from files`)); diff != "" {
		t.Errorf("files left (-want +got):\n%s", diff)
	}
	if n := queryOne[int](t, r.pool, `select (select count(*) from reactions where body not in (select id from bodies)) + (select count(*) from stars where copy not in (select id from copies))`); n != 0 {
		t.Errorf("%d child rows have lost what they belong to", n)
	}
	want := 0
	for _, owners := range copies {
		want += len(owners)
	}
	if n := queryOne[int](t, r.pool, `select count(*) from copies`); n != want {
		t.Errorf("%d copies are left; want %d", n, want)
	}
}
