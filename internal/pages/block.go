package pages

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// Block is a block of code of a page, between two fences.
type Block struct {
	Where    string   // file and line of its first fence
	Language string   // the first word behind the fence; "" without one
	Words    []string // the other words, which no reader of the page sees
	Text     string   // without the indentation of the fence
}

var (
	// fence begins or ends a block, also as the first thing of a list's item.
	fence = regexp.MustCompile("^(\\s*(?:(?:[-*+]|\\d+[.)])\\s+)*)(```+|~~~+)\\s*([^`]*)$")
	// indentation are the blanks before a line.
	indentation = regexp.MustCompile(`^\s*`)
)

// Blocks returns a Markdown file's blocks of code, in their order.
func Blocks(path string) ([]Block, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all []Block
	var open *Block
	var mark string
	var indent int
	for i, line := range strings.Split(string(data), "\n") {
		m := fence.FindStringSubmatch(line)
		switch {
		case open == nil && m != nil:
			words := strings.Fields(m[3])
			open, mark, indent = &Block{Where: path + ":" + strconv.Itoa(i+1)}, m[2], len(m[1])
			if len(words) > 0 {
				open.Language, open.Words = words[0], words[1:]
			}
		case open == nil:
		case m != nil && m[3] == "" && strings.HasPrefix(m[2], mark):
			all = append(all, *open)
			open = nil
		default:
			open.Text += line[min(indent, len(indentation.FindString(line))):] + "\n"
		}
	}
	if open != nil {
		return nil, fmt.Errorf("%s: the block has no end", open.Where)
	}
	return all, nil
}

// What a block of a page that is run may be.
type part int

const (
	reading part = iota // for readers alone
	running             // commands
	printed             // what the commands before it print
	written             // what a file holds
)

// step is a block as [Session.Run] takes it.
type step struct {
	Block
	part   part
	exit   int    // running: the status of the last command
	beside bool   // running: until the session ends
	file   string // written: its name
	print  string // running: what the page shows, "" if nothing
}

// steps are a page's blocks with what each is.
func steps(blocks []Block) ([]*step, error) {
	var all []*step
	var errs []error
	for _, b := range blocks {
		s := &step{Block: b}
		if err := s.read(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", b.Where, err))
		}
		if s.part == printed {
			if before := len(all) - 1; before < 0 || all[before].part != running {
				errs = append(errs, fmt.Errorf("%s: a text block shows what the sh block right before it prints; there is none", b.Where))
			} else {
				all[before].print = b.Text
			}
		}
		all = append(all, s)
	}
	return all, errors.Join(errs...)
}

// read finds out what the block is.
func (s *step) read() error {
	switch {
	case s.Language == "sh":
		s.part = running
		return s.readMarks()
	case s.Language == "text" && len(s.Words) == 0:
		s.part = printed
	case len(s.Words) == 1 && strings.Contains(s.Words[0], "."):
		s.part, s.file = written, s.Words[0]
	case len(s.Words) > 0:
		return fmt.Errorf("unknown mark %q: want the name of a file, or nothing", strings.Join(s.Words, " "))
	case s.Language == "":
		for line := range strings.Lines(s.Text) {
			if programs.MatchString(line) || strings.HasPrefix(line, "$ ") {
				return fmt.Errorf("commands in a block without a language are not run: mark it sh, without prompts (%q)", strings.TrimSpace(line))
			}
		}
	}
	return nil
}

// readMarks reads those of commands.
func (s *step) readMarks() error {
	for _, word := range s.Words {
		name, value, _ := strings.Cut(word, "=")
		status, err := strconv.Atoi(value)
		switch {
		case word == "beside":
			s.beside = true
		case name == "exit" && err == nil:
			s.exit = status
		default:
			return fmt.Errorf("unknown mark %q: want beside or exit=STATUS", word)
		}
	}
	return nil
}
