package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// table is lines of cells, printed in columns. A line of one cell is a title.
type table struct {
	header []string
	lines  [][]string
}

// rows adds a scenario's figures: one line for each, and one more for each
// comparison after the first.
func (r result) rows(t *table, columns []contestant) {
	t.lines = append(t.lines, []string{fmt.Sprintf("%s: %s", r.scenario.id, r.scenario.title)})
	for _, f := range r.scenario.figures {
		line := []string{f.name}
		for _, who := range columns {
			m, ok := r.median(f.name, who)
			line = append(line, numberOr(m, ok))
		}
		blank := make([]string, 1+len(columns))
		goals := f.goals
		if len(goals) == 0 {
			t.lines = append(t.lines, append(line, "", "", "", ""))
		}
		for i, g := range goals {
			start := blank
			if i == 0 {
				start = line
			}
			t.lines = append(t.lines, append(slices.Clone(start), r.verdict(f.name, g)...))
		}
	}
}

// verdict is a goal's cells: ratio, to what, goal, met.
func (r result) verdict(name string, g goal) []string {
	c, ok := r.compare(name, g)
	cells := make([]string, 4)
	if g.against != "" {
		cells[0], cells[1] = numberOr(c.Value, ok), strings.TrimSpace("× "+string(g.against)+" "+g.where())
	}
	if c.Met == nil {
		return cells
	}
	sign := "≥ "
	if g.sense == atMost {
		sign = "≤ "
	}
	cells[2] = sign + strconv.FormatFloat(g.number, 'f', -1, 64)
	switch {
	case !ok:
		cells[3] = "not measured"
	case *c.Met:
		cells[3] = "yes"
	default:
		cells[3] = "NO"
	}
	return cells
}

// where says in which other scenario a goal's figure was measured.
func (g goal) where() string {
	if g.elsewhere == "" {
		return ""
	}
	return "in " + g.elsewhere
}

// print writes the lines with their columns aligned: words to the left, numbers
// to the right.
func (t table) print(to io.Writer) error {
	widths := make([]int, len(t.header))
	for _, line := range append([][]string{t.header}, t.lines...) {
		for i, cell := range line {
			if len(line) > 1 {
				widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			}
		}
	}
	var out strings.Builder
	out.WriteString("\n" + t.line(t.header, widths))
	for _, line := range t.lines {
		if len(line) == 1 {
			out.WriteString("\n")
		}
		out.WriteString(t.line(line, widths))
	}
	_, err := io.WriteString(to, out.String())
	return err
}

func (t table) line(cells []string, widths []int) string {
	var out strings.Builder
	for i, cell := range cells {
		pad := ""
		if len(cells) > 1 {
			pad = strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
		}
		switch {
		case i == 0:
			out.WriteString("  " + cell + pad)
		case i <= len(cells)-4: // contestants and ratio
			out.WriteString("  " + pad + cell)
		default:
			out.WriteString("  " + cell + pad)
		}
	}
	line := strings.TrimRight(out.String(), " ")
	if len(cells) == 1 {
		line = strings.TrimPrefix(line, "  ")
	}
	return line + "\n"
}

func numberOr(v float64, ok bool) string {
	if !ok {
		return "–"
	}
	return number(v)
}

// number writes a figure with three digits or so, thousands apart.
func number(v float64) string {
	switch {
	case math.Abs(v) < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case math.Abs(v) < 100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	digits := strconv.FormatFloat(v, 'f', 0, 64)
	var out strings.Builder
	for i, d := range digits {
		if i > 0 && d != '-' && (len(digits)-i)%3 == 0 && digits[i-1] != '-' {
			out.WriteByte(' ')
		}
		out.WriteRune(d)
	}
	return out.String()
}
