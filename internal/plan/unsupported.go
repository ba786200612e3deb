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
	not(len(p.Conversations.Children) > 0, p.Conversations.at("children"), "conversations", "children of conversations")
	for _, e := range p.Entries() {
		not(len(e.Where) > 0 && e.References != nil, e.at("where"), e.Path, "where beside references")
		not(len(e.Set) > 0, e.at("set"), e.Path, "set")
		not(e.Keep, e.at("keep"), e.Path, "keep")
		not(e.Path == "messages" && e.Seq.Column == "", e.line, e.Path, "messages without seq")
		not(len(e.Parents) > 0, e.at("parents"), e.Path, "parents")
		not(len(e.Children) > 0, e.at("children"), e.Path, "children of children")
		not(e.References != nil && len(e.References.Column) > 1, e.at("references"), e.Path, "a reference of several columns")
	}
}
