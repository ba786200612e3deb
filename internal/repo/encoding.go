package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lethe-im/lethe/internal/purge"
)

// Unencodable returns those of the deletions, by their index, that have an id which
// the encoding of the database can't store: no row can have it, and the ledger can't
// store it. It doesn't ask the server if the encoding can store every id or the ids are ASCII.
func (r *Repo) Unencodable(ctx context.Context, ds []purge.Deletion) (map[int]purge.Unencodable, error) {
	if r.plan.StoresEveryID() {
		return nil, nil
	}
	doubtful := map[string]bool{}
	for _, d := range ds {
		for _, id := range idsOf(d) {
			if !ascii(id.value) {
				doubtful[id.value] = true
			}
		}
	}
	bad, err := r.unencodable(ctx, doubtful)
	if err != nil || len(bad) == 0 {
		return nil, err
	}
	found := map[int]purge.Unencodable{}
	for i, d := range ds {
		for _, id := range idsOf(d) {
			if bad[id.value] {
				found[i] = purge.Unencodable{
					Whole: id.name != "conversation_id",
					Err:   fmt.Errorf("%s has a character that the database's encoding, %s, can't store", id.name, r.plan.Encoding),
				}
				break
			}
		}
	}
	return found, nil
}

// namedID is one of a deletion's ids.
type namedID struct{ name, value string }

// idsOf are the ids that the ledger keeps, the conversation's last.
func idsOf(d purge.Deletion) []namedID {
	return []namedID{{"app_id", d.App}, {"user_id", d.User}, {"command_id", d.Command}, {"device_id", d.Device}, {"conversation_id", d.Conversation}}
}

func ascii(s string) bool {
	return !slices.ContainsFunc([]byte(s), func(b byte) bool { return b >= 0x80 })
}

// unencodable asks the server about all texts at once, and if there is a bad one among
// them about each.
func (r *Repo) unencodable(ctx context.Context, texts map[string]bool) (bad map[string]bool, err error) {
	all := make([]string, 0, len(texts))
	for text := range texts {
		all = append(all, text)
	}
	if ok, err := r.encodes(ctx, all...); ok || err != nil {
		return nil, err
	}
	bad = map[string]bool{}
	for _, text := range all {
		ok, err := r.encodes(ctx, text)
		if err != nil {
			return nil, err
		}
		bad[text] = !ok
	}
	return bad, nil
}

// encodes reports whether the server can convert all of the texts.
func (r *Repo) encodes(ctx context.Context, texts ...string) (bool, error) {
	if len(texts) == 0 {
		return true, nil
	}
	t := r.begin(false)
	t.exec(nil, general.get("encode"), args{"texts": texts})
	err := r.commit(ctx, t)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Code == "22P05" || pg.Code == "22021") { // untranslatable_character, character_not_in_repertoire
		return false, nil
	}
	return err == nil, err
}
