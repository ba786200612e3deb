package main

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// problem is one thing that is wrong with a flag.
type problem struct{ flag, text string }

// Error names the flag and its variable.
func (p problem) Error() string { return labelOf(p.flag) + ": " + p.text }

func labelOf(flag string) string {
	if name := variableOf(flag); name != "" {
		return "--" + flag + " (" + name + ")"
	}
	return "--" + flag
}

// problems collects what is wrong.
type problems []error

func (p *problems) add(flag, format string, args ...any) {
	*p = append(*p, problem{flag, fmt.Sprintf(format, args...)})
}

// within complains where v is outside [least, most].
func (p *problems) within(flag string, v, least, most int) {
	if v < least || v > most {
		p.add(flag, "%d is out of range: expected %d to %d", v, least, most)
	}
}

// lasting complains where d is outside [least, most].
func (p *problems) lasting(flag string, d, least, most time.Duration) {
	if d < least || d > most {
		p.add(flag, "%v is out of range: expected %v to %v", d, least, most)
	}
}

// oneOf complains where v is none of words.
func (p *problems) oneOf(flag, v string, words ...string) {
	for _, w := range words {
		if v == w {
			return
		}
	}
	p.add(flag, "%q is not known: expected %s", v, strings.Join(words, ", "))
}

// except leaves out what is about one of flags.
func (p problems) except(flags []string) problems {
	var kept problems
	for _, err := range p {
		named, ok := err.(problem) //nolint:errorlint // ours, never wrapped
		drop := false
		for _, f := range flags {
			drop = drop || ok && named.flag == f
		}
		if !drop {
			kept = append(kept, err)
		}
	}
	return kept
}

// mappers read the values of our types and note what is malformed instead of
// stopping at the first, so that all of it can be told.
func (p *parser) mappers() []kong.Option {
	return []kong.Option{
		kong.TypeMapper(reflect.TypeFor[time.Duration](), valueMapper[time.Duration]{p, time.ParseDuration, "a duration",
			"a number with a unit, such as 50ms, 30s or 720h"}),
		kong.TypeMapper(reflect.TypeFor[int](), valueMapper[int]{p, strconv.Atoi, "a whole number", "digits, such as 10"}),
		kong.TypeMapper(reflect.TypeFor[byteSize](), valueMapper[byteSize]{p, parseSize, "a size",
			"bytes, or a number with a unit, such as 64MiB or 10GB"}),
		kong.TypeMapper(reflect.TypeFor[bool](), switchMapper{valueMapper[bool]{p, parseSwitch, "a switch", "true or false"}}),
	}
}

// valueMapper reads one value of type T.
type valueMapper[T any] struct {
	parser      *parser
	read        func(string) (T, error)
	what, wants string
}

// Decode implements kong.Mapper.
func (m valueMapper[T]) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto(m.what, &text); err != nil {
		return err
	}
	v, err := m.read(text)
	if err != nil {
		m.parser.problems.add(ctx.Value.Name, "%q is not %s: expected %s", text, m.what, m.wants)
		m.parser.malformed = append(m.parser.malformed, ctx.Value.Name)
		return nil
	}
	target.Set(reflect.ValueOf(v))
	return nil
}

// switchMapper is a valueMapper whose value may be left out.
type switchMapper struct{ valueMapper[bool] }

// IsBool implements kong.BoolMapper.
func (switchMapper) IsBool() bool { return true }

// Decode implements kong.Mapper.
func (m switchMapper) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		target.SetBool(true)
		return nil
	}
	return m.valueMapper.Decode(ctx, target)
}

func parseSwitch(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "1", "yes", "on":
		return true, nil
	case "false", "0", "no", "off":
		return false, nil
	}
	return false, strconv.ErrSyntax
}

// byteSize is a number of bytes.
type byteSize int64

var sizeUnits = map[string]int64{
	"": 1, "b": 1,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}

func parseSize(s string) (byteSize, error) {
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	n, err := strconv.ParseInt(s[:digits], 10, 64)
	if err != nil {
		return 0, err
	}
	unit, ok := sizeUnits[strings.ToLower(strings.TrimSpace(s[digits:]))]
	if !ok || n > math.MaxInt64/unit {
		return 0, strconv.ErrSyntax
	}
	return byteSize(n * unit), nil
}
