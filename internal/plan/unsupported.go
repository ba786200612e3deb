package plan

// unsupported refuses what the language can say and statements can't do yet. build calls it first;
// whoever teaches build one of them takes its line out.
func (k *checker) unsupported() {
	p := k.plan
	not := func(used bool, line int, path, what string) {
		if used {
			k.problems = append(k.problems, problem{line, path + ": " + what + ": not supported yet"})
		}
	}
	for _, e := range p.Entries() {
		not(e.Path == "messages" && e.Seq.Column == "", e.line, e.Path, "messages without seq")
	}
}
