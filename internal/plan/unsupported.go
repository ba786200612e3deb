package plan

// unsupported refuses what the language can say and statements can't do yet. build calls it first;
// whoever teaches build one of them takes its line out.
func (k *checker) unsupported() {
	p := k.plan
	not := func(used bool, line int, path, what string) {
		if used {
			var p problems
			p.add(line, "%s: %s: not supported yet", path, what)
			k.problems = append(k.problems, p.errs...)
		}
	}
	not(len(p.IDs) > 0, 0, "ids", "ids")
	not(p.Conversations.Table == "", 0, "conversations", "a plan without a table of conversations")
	for _, e := range p.Entries() {
		not(len(e.Where) > 0, e.at("where"), e.Path, "where")
		not(len(e.Set) > 0, e.at("set"), e.Path, "set")
		not(e.Keep, e.at("keep"), e.Path, "keep")
		not(e.Seq.Unit != "", e.at("seq"), e.Path, "a position with a unit")
		not(e.SentAt != Reading{Column: e.SentAt.Column}, e.at("sent_at"), e.Path, "a time with a unit")
		not(e.Path == "messages" && e.SentAt.Column == "", e.line, e.Path, "messages without sent_at")
		not(e.Path == "messages" && e.Seq.Column == "", e.line, e.Path, "messages without seq")
		not(len(e.Parents) > 0, e.at("parents"), e.Path, "parents")
		not(len(e.Children) > 0, e.at("children"), e.Path, "children of children")
		not(e.References != nil && len(e.References.Column) > 1, e.at("references"), e.Path, "a reference of several columns")
	}
}
