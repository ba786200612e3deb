package plan

import (
	"slices"
	"strings"
	"sync"
	"unicode"
)

// words are a name's words in lower case.
func words(name string) []string {
	var out []string
	last := ' '
	for _, r := range name {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			last = ' '
			continue
		case last == ' ' || unicode.IsUpper(r) && !unicode.IsUpper(last):
			out = append(out, "")
		}
		out[len(out)-1] += string(unicode.ToLower(r))
		last = r
	}
	return out
}

// otherWords are beside those in names of tables. Some have one of those in them, and mean something else.
var otherWords = []string{
	"remember", "messaging", "poster",
	"account", "auth", "blog", "by", "copy", "count", "direct", "entry", "forum", "guild", "history", "inbox", "item", "last", "line", "log", "mailbox", "marker",
	"owner", "private", "profile", "root", "state", "status", "table", "team", "total", "user",
}

// rootForms are the forms of all words in names of tables, with the word of each: pinned is one of pin.
var rootForms = sync.OnceValue(func() map[string]string {
	all := slices.Concat(messageWords, besideWords, conversationWords, memberWords, fileWords, keepWords, otherWords)
	slices.SortStableFunc(all, func(a, b string) int { return len(a) - len(b) }) // posters are those of poster, and not of post
	out := map[string]string{}
	for _, w := range all {
		last, verb := w[len(w)-1:], []string{"ed", "er", "ers", "ing", "ings"}
		stem, ends := w, append([]string{"", "s", "es", "ship", "ships"}, verb...)
		switch last {
		case "e":
			stem, ends = strings.TrimSuffix(w, last), append([]string{"e", "es"}, verb...)
		case "y":
			stem, ends = strings.TrimSuffix(w, last), []string{"y", "ies"}
		default:
			for _, end := range verb {
				ends = append(ends, last+end)
			}
		}
		for _, end := range ends {
			out[stem+end] = w
		}
	}
	return out
})

// roots are a name's words, each in its first form: message and pin for pinned_messages. Those of a name without
// separators are found where it is made of known words alone, and else at its ends if they are so long that no other word has them
// in it: thread and message for threadmessages, starting and message for startingmessages.
func roots(name string) []string {
	var out []string
	for _, w := range words(name) {
		if short := strings.TrimRight(w, "0123456789"); short != "" {
			w = short
		}
		out = append(out, split(w)...)
	}
	return out
}

func split(word string) []string {
	if all := known(word); all != nil {
		return all
	}
	for i := 1; i < len(word); i++ {
		if r := rootForms()[word[i:]]; long(r) {
			return append(split(word[:i]), r)
		}
	}
	for i := len(word) - 1; i > 0; i-- {
		if r := rootForms()[word[:i]]; long(r) {
			return append([]string{r}, split(word[i:])...)
		}
	}
	return []string{word}
}

// long reports whether other words don't begin or end with the word.
func long(word string) bool { return len(word) >= 6 || word == "msg" || word == "user" }

// known are the known words that the word is made of; nil if it isn't.
func known(word string) []string {
	if word == "" {
		return []string{}
	}
	for i := len(word); i > 0; i-- {
		if r := rootForms()[word[:i]]; r != "" {
			if rest := known(word[i:]); rest != nil {
				return append([]string{r}, rest...)
			}
		}
	}
	return nil
}

// has reports whether the name has one of the words.
func has(name string, asked []string) bool { return wordIn(name, asked) != "" }

// wordIn is the first of the words that the name has, or that some of its words make together, as user and message make
// usermessage; "" for none.
func wordIn(name string, asked []string) string {
	all := roots(name)
	for i := range all {
		for j := i + 1; j <= len(all); j++ {
			if w := strings.Join(all[i:j], ""); slices.Contains(asked, w) {
				return w
			}
		}
	}
	return ""
}

// endsWith reports whether the name's last word is one of these, or its last ones together are.
func endsWith(name string, asked []string) bool {
	all := roots(name)
	for i := range all {
		if slices.Contains(asked, strings.Join(all[i:], "")) {
			return true
		}
	}
	return false
}
