package pages

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestCommandsAndSQLOfAPage(t *testing.T) {
	t.Parallel()
	page := filepath.Join(t.TempDir(), "page.md")
	text := "Say `worker pause`, or `workers`, and `select 1`.\n\n```\n$ worker status c1 | grep x\nstate  done\n$ psql -xc \"select 2\"\n```\n\n" +
		"   ```\n   nats stream info \\\n     X\n   ```\n```sh\nworker() { docker x; }\nnats x\n```\n```sql\nselect 3\n```\n"
	if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	texts := func(all []Command, err error) (out []string) {
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			out = append(out, c.Text)
		}
		return out
	}
	if got, want := texts(Commands(page)), []string{"worker pause", "worker status c1 | grep x", `psql -xc "select 2"`, "nats stream info X", "nats x"}; !slices.Equal(got, want) {
		t.Errorf("Commands = %q; want %q", got, want)
	}
	if got, want := texts(SQL(page)), []string{"select 2", "select 1", "select 3\n"}; !slices.Equal(got, want) {
		t.Errorf("SQL = %q; want %q", got, want)
	}
}
