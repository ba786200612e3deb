package main

import (
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// tableColumn is a column of a table that fits a terminal.
type tableColumn struct {
	name  string
	cells []string
	right bool // aligned
	// shrinks says that cells may be cut, down to minShrunk: in the middle, where ids are the most alike,
	// or, of a text, at its end.
	shrinks, text bool
	// dropped is where the column stands among those that are left out where there is no room, the
	// greatest first; 0 for never.
	dropped int

	width int
}

const (
	// minShrunk is how far a column shrinks, so that ids can still be told apart.
	minShrunk = 8
	columnGap = 2
)

// alignColumns writes the heading and the rows, each at most width wide if every column that
// can is dropped or shrunk; 0 for no limit. The cells are printable.
func alignColumns(columns []tableColumn, width int) []string {
	for i, c := range columns {
		for _, cell := range append(c.cells, c.name) {
			columns[i].width = max(columns[i].width, displayWidth(cell))
		}
	}
	if width > 0 {
		columns = fit(columns, width)
	}
	lines := make([]string, 1+len(columns[0].cells))
	for i, c := range columns {
		last := i == len(columns)-1
		lines[0] += c.pad(c.name, last)
		for j, cell := range c.cells {
			lines[1+j] += c.pad(cell, last)
		}
	}
	return lines
}

// fit drops and shrinks columns.
func fit(columns []tableColumn, limit int) []tableColumn {
	need := func(least bool) (sum int) {
		for _, c := range columns {
			if sum += c.width + columnGap; least && c.shrinks {
				sum -= max(0, c.width-max(minShrunk, len(c.name)))
			}
		}
		return sum - columnGap
	}
	for need(true) > limit {
		drop := 0
		for i, c := range columns {
			if c.dropped > columns[drop].dropped {
				drop = i
			}
		}
		if columns[drop].dropped == 0 {
			break
		}
		columns = append(columns[:drop:drop], columns[drop+1:]...)
	}
	for need(false) > limit {
		widest := -1
		for i, c := range columns {
			if c.shrinks && c.width > max(minShrunk, len(c.name)) && (widest < 0 || c.width > columns[widest].width) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		columns[widest].width--
	}
	return columns
}

// pad brings a cell to the column's width.
func (c tableColumn) pad(cell string, last bool) string {
	if c.text {
		cell = cut(cell, c.width)
	} else {
		cell = cutMiddle(cell, c.width)
	}
	space := strings.Repeat(" ", c.width-displayWidth(cell))
	switch {
	case c.right:
		cell = space + cell
	case !last:
		cell += space
	}
	if !last {
		cell += strings.Repeat(" ", columnGap)
	}
	return cell
}

// displayWidth is how many columns of a terminal a printable text takes.
func displayWidth(s string) (columns int) {
	for _, r := range s {
		columns += runeWidth(r)
	}
	return columns
}

func runeWidth(r rune) int {
	if r < 0x300 { // the first that combines
		return 1
	}
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	if kind := width.LookupRune(r).Kind(); kind == width.EastAsianWide || kind == width.EastAsianFullwidth {
		return 2
	}
	return 1
}

// cut shortens a printable text to a width, with an ellipsis in the place of the rest.
func cut(s string, limit int) string {
	if displayWidth(s) <= limit {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if limit -= runeWidth(r); limit < 1 {
			break
		}
		b.WriteRune(r)
	}
	return b.String() + "…"
}

// cutMiddle is cut for ids: what goes is in the middle.
func cutMiddle(s string, limit int) string {
	if displayWidth(s) <= limit {
		return s
	}
	const ellipsis = "…"
	runes := []rune(s)
	tail, room := len(runes), (limit-1)/2
	for tail > 0 && runeWidth(runes[tail-1]) <= room {
		tail--
		room -= runeWidth(runes[tail])
	}
	for tail < len(runes) && runeWidth(runes[tail]) == 0 { // they belong to what is cut
		tail++
	}
	end := string(runes[tail:])
	head := cut(s, limit-displayWidth(end))
	return strings.TrimSuffix(head, ellipsis) + ellipsis + end
}
