package repo

import (
	"strings"
	"testing"

	"github.com/lethe-im/lethe/internal/purge"
)

// A reference is removed by an update, too; and two columns of one row may refer to one parent.
func TestParentsGoHoweverReferencesDo(t *testing.T) {
	t.Parallel()
	d := ownersDeletion("1", "a", 100)
	const key = `alter table h.notes add foreign key (file) references h.files;`
	for name, write := range map[string]string{"nulled": `update h.notes set file = null where id = 50`, "moved": `update h.notes set file = 5 where id = 50`} {
		t.Run(name+"_meanwhile", func(t *testing.T) {
			t.Parallel()
			r := newTags(t, filePlan, key, `insert into h.notes values (50, 101, 1), (51, 101, 5); update h.notes set label = 'touched'`)
			writer := begin(t, r)
			if _, err := writer.Exec(t.Context(), write); err != nil {
				t.Fatal(err)
			}
			whileStepping(t, r, d, func() {
				if err := writer.Commit(t.Context()); err != nil {
					t.Error(err)
				}
			})
			if got, want := tagsLeft(t, r), "1 threads, 2 posts, 3 tags, 2 notes, 1 files"; got != want {
				t.Errorf("left %s; want %s", got, want)
			}
		})
	}
	t.Run("with_a_trigger_before_the_delete_that_changes_the_parent", func(t *testing.T) { // the server doesn't delete it then
		t.Parallel()
		r := newTags(t, filePlan, `create function h.count() returns trigger language plpgsql as $$ begin
				update h.files set uses = uses - 1 where id = old.file; return old; exception when division_by_zero then return old; end $$;
			create trigger count before delete on h.notes for each row execute function h.count()`)
		if step, err := r.Step(t.Context(), d, purge.Part{Claim: true, Finish: true, Limit: 100}); err == nil || !strings.Contains(err.Error(), "27000") {
			t.Errorf("step %+v, %v; want error 27000", step, err)
		}
		if got, want := tagsLeft(t, r), "2 threads, 6 posts, 6 tags, 4 notes, 5 files"; got != want {
			t.Errorf("left %s; want %s", got, want)
		}
	})
	t.Run("by_two_columns", func(t *testing.T) {
		t.Parallel()
		r := newTags(t, tagPlan+`    parents:
      - {table: h.files, references: {column: file, to: id}, kept_by: [{table: h.notes, references: {column: thumb, to: id}}]}
      - {table: h.files, references: {column: thumb, to: id}, kept_by: [{table: h.notes, references: {column: file, to: id}}]}
`, key, `alter table h.notes add thumb bigint references h.files; create index on h.notes (thumb);
			update h.notes set thumb = case id when 1 then 1 else id % 4 + 1 end; insert into h.notes (id, post, thumb) values (50, 101, 3)`)
		stepThrough(t, r, d, 100)
		if got, want := tagsLeft(t, r), "1 threads, 2 posts, 3 tags, 1 notes, 2 files"; got != want {
			t.Errorf("left %s; want %s", got, want)
		}
	})
}
