package repo

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
)

func TestForeignSchema(t *testing.T) {
	t.Parallel()
	through := int64(30)
	cases := []struct {
		name    string
		through *int64
		limit   int
		deleted int64
		left    string
		unseen  int
	}{
		{"goes_all_at_once", nil, 1000, 40, "0 posts, 0 likes, 0 files, 0 mentions, 0 rows, 0 orphans", -1},
		{"goes_in_small_batches", nil, 3, 40, "0 posts, 0 likes, 0 files, 0 mentions, 0 rows, 0 orphans", -1},
		{"keeps_what_is_above_the_boundary", &through, 1000, 30, "10 posts, 6 likes, 3 files, 3 mentions, 1 rows, 0 orphans", 9},
		{"keeps_what_is_above_the_boundary_in_small_batches", &through, 7, 30, "10 posts, 6 likes, 3 files, 3 mentions, 1 rows, 0 orphans", 9},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newSocial(t)
			fillSocial(t, r, 40, 7, 8)
			before := socialLeft(t, r, 8)
			rec := carryOut(t, r, removal("c1", c.through), c.limit)
			if rec.State != purge.Done || rec.MessagesDeleted != c.deleted || rec.ConversationRemoved != (c.unseen < 0) {
				t.Errorf("record = %+v; want done, %d messages deleted", rec, c.deleted)
			}
			if got := socialLeft(t, r, 7); got != c.left {
				t.Errorf("left = %s; want %s", got, c.left)
			}
			if got := socialLeft(t, r, 8); got != before {
				t.Errorf("the other owner has %s left of %s", got, before)
			}
			if c.unseen >= 0 {
				if got := queryOne[int](t, r.pool, `select unseen::int from social.thread_members where member = '7'`); got != c.unseen {
					t.Errorf("unseen = %d; want %d", got, c.unseen)
				}
			}
		})
	}
}

func TestForeignSchemaBoundary(t *testing.T) {
	t.Parallel()
	t.Run("takes_a_timestamp_without_zone_as_UTC_for_the_boundary", func(t *testing.T) {
		t.Parallel()
		r := newSocial(t)
		execSQL(t, r.pool, `do $$ begin execute format('alter database %I set timezone = ''Pacific/Kiritimati''', current_database()); end $$`)
		r = openRepo(t, r.cfg)
		fillSocial(t, r, 40, 7)
		d := removal("c1", nil)
		d.StoredAt = time.Now().Add(-70*time.Minute - 30*time.Second) // the last ten were sent later, and one by half a minute
		if rec := carryOut(t, r, d, 1000); rec.ThroughSeq != 29 || rec.MessagesDeleted != 29 {
			t.Errorf("record = %+v; want 29 messages deleted up to 29", rec)
		}
	})
	t.Run("is_unread_only_as_far_as_newer_posts_go", func(t *testing.T) {
		t.Parallel()
		r := newSocial(t)
		fillSocial(t, r, 40, 7)
		through := int64(36)
		carryOut(t, r, removal("c1", &through), 1000)
		if got := queryOne[int](t, r.pool, `select unseen::int from social.thread_members where member = '7'`); got != 4 {
			t.Errorf("unseen = %d; want 4", got)
		}
	})
}

// Foreign keys in all directions that Open allows.
func TestForeignKeysThatAreAllowed(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"replies_to_older_posts": `alter table social."Post" add reply_to bigint references social."Post" on delete set null; create index on social."Post" (reply_to);
			create function social.reply() returns trigger language plpgsql as $$ begin
				new.reply_to := (select id from social."Post" where owner = new.owner and position < new.position order by position desc limit 1); return new; end $$;
			create trigger reply before insert on social."Post" for each row execute function social.reply()`,
		"a_conversation_to_its_latest_post": `alter table social.thread_members add latest bigint references social."Post" on delete set null; create index on social.thread_members (latest);
			create function social.latest() returns trigger language plpgsql as $$ begin
				new.latest := (select id from social."Post" where owner = new.member::bigint order by position desc limit 1); return new; end $$;
			create trigger latest before insert on social.thread_members for each row execute function social.latest()`,
		"posts_to_their_conversation": `alter table social."Post" add member varchar(40) generated always as (owner::text) stored,
			add foreign key (thread, member) references social.thread_members deferrable initially immediate; create index on social."Post" (thread, member);
			create function social.join() returns trigger language plpgsql as $$ begin
				insert into social.thread_members (member, thread) values (new.owner, new.thread) on conflict do nothing; return new; end $$;
			create trigger join_thread before insert on social."Post" for each row execute function social.join()`,
		"a_UUID_in_text": `alter table social.thread_members alter thread type text`,
		"partitioned_children": `drop table social.files; create table social.files (thread uuid, owner bigint, position int, name text, primary key (owner, thread, position, name),
				foreign key (owner, thread, position) references social."Post" (owner, thread, position) on delete cascade) partition by hash (owner);
			create table social.files_0 partition of social.files for values with (modulus 2, remainder 0);
			create table social.files_1 partition of social.files for values with (modulus 2, remainder 1)`,
	} {
		for _, limit := range []int{1000, 3} {
			t.Run(fmt.Sprintf("%s_go_with_batches_of_%d", name, limit), func(t *testing.T) {
				t.Parallel()
				r := newSocial(t, sql)
				fillSocial(t, r, 40, 7, 8)
				before := socialLeft(t, r, 8)
				through := int64(30)
				if rec := carryOut(t, r, removal("c1", &through), limit); rec.State != purge.Done || rec.MessagesDeleted != 30 {
					t.Errorf("record = %+v; want 30 messages deleted", rec)
				}
				if rec := carryOut(t, r, removal("c2", nil), limit); rec.State != purge.Done || rec.MessagesDeleted != 10 || !rec.ConversationRemoved {
					t.Errorf("record = %+v; want 10 messages deleted and the conversation removed", rec)
				}
				if got, want := socialLeft(t, r, 7), "0 posts, 0 likes, 0 files, 0 mentions, 0 rows, 0 orphans"; got != want {
					t.Errorf("left = %s; want %s", got, want)
				}
				if got := socialLeft(t, r, 8); got != before {
					t.Errorf("the other owner has %s left of %s", got, before)
				}
			})
		}
	}
}

// Somebody likes a post while its deletion is under way: the like's foreign key
// holds the post until they commit.
func TestForeignSchemaWithALikeInFlight(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1000, 5} {
		t.Run(fmt.Sprint("leaves_nothing_behind_with_batches_of_", limit), func(t *testing.T) {
			t.Parallel()
			r := newSocial(t)
			fillSocial(t, r, 20, 7)
			tx, err := r.pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback(context.Background()) }()
			if _, err := tx.Exec(t.Context(), `insert into social.likes select id, 'late' from social."Post" where position = 13`); err != nil {
				t.Fatal(err)
			}
			d := removal("c1", nil)
			budget := purge.Budget{PerDeletion: limit, Rows: limit}
			res, err := r.Bulk(t.Context(), purge.Batch{Deletions: []purge.Deletion{d}, Budget: budget, SkipLocked: true})
			if err != nil || res.Records[0].State != purge.Running {
				t.Fatalf("bulk = %+v, %v; want it running", res, err)
			}
			if _, err = r.Step(t.Context(), d, purge.Part{Limit: 1000}); err == nil {
				t.Fatal("a batch went past a locked post")
			}
			if fault, _ := purge.FaultOf(err); fault != purge.Contention {
				t.Fatalf("%v is %v; want contention", err, fault)
			}
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if rec := carryOut(t, r, d, limit); rec.State != purge.Done || rec.MessagesDeleted != 20 {
				t.Errorf("record = %+v; want 20 messages deleted", rec)
			}
			if got := queryOne[int](t, r.pool, `select (select count(*) from social.likes) + (select count(*) from social.files) + (select count(*) from social.mentions)
				+ (select count(*) from social."Post") + (select count(*) from social.thread_members)`); got != 0 {
				t.Errorf("%d rows are left", got)
			}
		})
	}
}

// A like comes in between the likes and their posts, and its foreign key keeps a post: the step
// locks the posts first, and goes on.
func TestAStepLocksMessagesWhenAChildRowComesInBetween(t *testing.T) {
	t.Parallel()
	cfg := newSocial(t).cfg
	cfg.Target = 10 * time.Second
	r := openRepo(t, cfg)
	fillSocial(t, r, 20, 7)
	tx, err := r.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `insert into social.likes select id, 'late' from social."Post" where position = 13`); err != nil {
		t.Fatal(err)
	}
	d := removal("c1", nil)
	step, err := whileItWaits(t, r, func() (purge.Step, error) {
		return r.Step(t.Context(), d, purge.Part{Claim: true, Finish: true, Limit: 100})
	}, func() error { return tx.Commit(t.Context()) })
	if err != nil || !step.Finished || step.Record.MessagesDeleted != 20 {
		t.Fatalf("step = %+v, %v; want it finished with 20", step, err)
	}
	if got := socialLeft(t, r, 7); got != "0 posts, 0 likes, 0 files, 0 mentions, 0 rows, 0 orphans" {
		t.Errorf("left: %s", got)
	}
}
