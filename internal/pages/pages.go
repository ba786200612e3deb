package pages

import (
	"os"
	"regexp"
	"strconv"
	"strings"
)

// Command is one command of a page.
type Command struct {
	Where string // file and line
	Text  string // as it stands there, without prompt; continued lines are joined
	Block bool   // it stands in a block of its own, and not in a sentence
	Line  string // the line, item or cell's row that it stands in, for a command in a sentence
}

// programs are the words that commands begin with.
var programs = regexp.MustCompile(`^(worker|\./worker|nats|psql|readyz|metrics|consumer|streams|logs|promql|docker|kubectl|deploy/kubernetes/operator)( |$)`)

// span is code in a sentence.
var span = regexp.MustCompile("`([^`]+)`")

// Commands returns the commands of a Markdown file: in blocks without a language, in
// sh blocks and in sentences. In a block with prompts ("$ "), only what follows one is a command.
func Commands(path string) ([]Command, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := reader{path: path}
	for i, line := range strings.Split(string(data), "\n") {
		r.line(i+1, line)
	}
	return r.found, nil
}

// reader goes through a page line by line.
type reader struct {
	path  string
	found []Command
	open  bool   // in a block
	skip  bool   // of another language
	begun string // a command that continues in the next line
}

func (r *reader) line(n int, line string) {
	text := strings.TrimSpace(line)
	switch {
	case strings.HasPrefix(text, "```") || strings.HasPrefix(text, "3. ```"): // a block may begin an item
		r.open = !r.open
		_, language, _ := strings.Cut(text, "```")
		first, _, _ := strings.Cut(language, " ")
		r.skip = first != "" && first != "sh"
	case !r.open:
		for _, m := range span.FindAllStringSubmatch(line, -1) {
			r.add(n, m[1], line)
		}
	case !r.skip:
		r.inBlock(n, text)
	}
}

func (r *reader) inBlock(n int, text string) {
	text = strings.TrimPrefix(text, "$ ")
	if r.begun != "" {
		text = r.begun + " " + text
	}
	var more bool
	if text, more = strings.CutSuffix(text, `\`); more {
		r.begun = strings.TrimSpace(text)
		return
	}
	r.begun = ""
	r.add(n, text, "")
}

func (r *reader) add(n int, text, line string) {
	if programs.MatchString(text) {
		r.found = append(r.found, Command{Where: r.path + ":" + strconv.Itoa(n), Text: text, Block: line == "", Line: line})
	}
}

// SQL returns the statements of a page: blocks of SQL, what psql is given, and code
// in a sentence that begins with select.
func SQL(path string) ([]Command, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	commands, err := Commands(path)
	if err != nil {
		return nil, err
	}
	var all []Command
	for _, c := range commands {
		if m := given.FindStringSubmatch(c.Text); m != nil {
			all = append(all, Command{Where: c.Where, Text: m[1], Block: c.Block})
		}
	}
	for i, line := range strings.Split(string(data), "\n") {
		for _, m := range span.FindAllStringSubmatch(line, -1) {
			if strings.HasPrefix(m[1], "select ") {
				all = append(all, Command{Where: path + ":" + strconv.Itoa(i+1), Text: m[1], Line: line})
			}
		}
	}
	for _, m := range block.FindAllStringSubmatchIndex(string(data), -1) {
		at := 1 + strings.Count(string(data[:m[0]]), "\n")
		all = append(all, Command{Where: path + ":" + strconv.Itoa(at), Text: string(data[m[2]:m[3]]), Block: true})
	}
	return all, nil
}

var (
	given = regexp.MustCompile(`^psql -x?c "(.*)"`)
	block = regexp.MustCompile("(?s)```sql\n(.*?)```")
)
