package plan

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Report is all that a check has found.
type Report struct {
	// Checked is the plan that fits the tables; nil where there is a problem.
	Checked *Checked
	// Findings are the problems, and after them the warnings.
	Findings []Finding
	// Notes are what else an operator may want to know: what is slow, or refused until there is an index.
	Notes []Finding
	err   error
}

// Err is nil where the plan fits. Otherwise it is as [Check] returns it.
func (r *Report) Err() error { return r.err }

// Finding is one thing that a check has found, for an operator.
type Finding struct {
	// Problem: the plan doesn't fit. Otherwise, among the findings, it is a warning: legal, and dangerous.
	Problem bool
	// Text is one line: where, what was found, what was expected, what to do.
	Text string
	// Line is that of the plan's file; 0 for none.
	Line int
	// Path is where in the plan: children[1].references.to; "" for what concerns no entry.
	Path string
	// Table is the entry's, quoted; "" for none.
	Table string
	// Run is the statement or command that settles it; "" where there is none.
	Run string
	// If: Run is for a case that the text names, and something else for the others.
	If bool
}

// Texts have one form: `plan: line 3: path: what; run: statement; or what else to do`. All but
// what is wrong may be absent. What is for a case only is `…; if so, run: statement`. Names are quoted, and may have any text.
var (
	namesForm = regexp.MustCompile(`"(?:[^"]|"")*"|[ {\[]'(?:[^']|'')*'`)
	pathForm  = regexp.MustCompile(`^(?:plan: )?(?:line (\d+): )?(?:((?:tenant|ids|messages|members|conversations|children|everyone)\b[^\s:]*)(?::| is| needs) )?`)
	runForm   = regexp.MustCompile(`[;,] run: (.*?)(?:; or .*)?$`)
)

// findings makes one of each line of the errors.
func findings(problem bool, lines []string) []Finding {
	var all []Finding
	for _, line := range lines {
		f := Finding{Problem: problem, Text: strings.TrimPrefix(line, "plan: ")}
		m := pathForm.FindStringSubmatch(line) // of the empty text, at least
		f.Line, _ = strconv.Atoi(m[1])
		f.Path = m[2]
		f.Run, f.If = statementIn(line)
		all = append(all, f)
	}
	return all
}

// statementIn finds the statement of a line, and whether it is for a case only.
func statementIn(line string) (run string, isCase bool) {
	masked := namesForm.ReplaceAllStringFunc(line, func(name string) string { return strings.Repeat("x", len(name)) })
	m := runForm.FindStringSubmatchIndex(masked)
	if m == nil {
		return "", false
	}
	return line[m[2]:m[3]], masked[m[0]] == ','
}

// SQL is the statement that settles the problem, whatever the case; "" where that isn't all that there is to decide.
func (f Finding) SQL() string {
	if !f.Problem || f.If || strings.HasPrefix(f.Run, "worker ") {
		return ""
	}
	return f.Run
}

// report is what the checker has found. checked is whole only without problems.
func (k *checker) report(checked *Checked) *Report {
	for _, errs := range [][]error{k.problems, k.unindexed} {
		for i, err := range errs {
			errs[i] = errors.New(k.plan.lined(err.Error()))
		}
	}
	for i, w := range k.warnings {
		k.warnings[i] = k.plan.lined(w)
	}
	r := &Report{err: k.verdict()}
	if r.err != nil {
		r.Findings = findings(true, strings.Split(r.err.Error(), "\n"))
	} else {
		checked.Warnings = k.warnings
		r.Checked = checked
	}
	r.Findings = k.withTables(append(r.Findings, findings(false, k.warnings)...))
	r.Notes = k.withTables(findings(false, mapped(k.notes, k.plan.lined)))
	return r
}

// withTables sets the findings' tables.
func (k *checker) withTables(all []Finding) []Finding {
	for i, f := range all {
		for _, m := range k.members() {
			if m.rel != nil && (f.Path == m.path || strings.HasPrefix(f.Path, m.path+".")) {
				all[i].Table = m.rel.String()
			}
		}
	}
	return all
}

// Incomparable is the report of a plan that can't be compared with tables: err says why, one line
// for each problem.
func Incomparable(err error) *Report {
	lines := slices.DeleteFunc(strings.Split(err.Error(), "\n"), func(line string) bool { return strings.TrimSpace(line) == "" })
	return &Report{err: misfit(err), Findings: findings(true, lines)}
}
