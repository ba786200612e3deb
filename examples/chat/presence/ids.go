package presence

// ids remembers the last maxSeen ids that were added. The zero value has none.
type ids struct {
	known  map[string]struct{}
	order  []string // a ring once it is full
	oldest int
}

// add reports whether the id is new.
func (s *ids) add(id string) bool {
	if _, known := s.known[id]; known {
		return false
	}
	if s.known == nil {
		s.known = map[string]struct{}{}
	}
	s.known[id] = struct{}{}
	if len(s.order) < maxSeen {
		s.order = append(s.order, id)
		return true
	}
	delete(s.known, s.order[s.oldest])
	s.order[s.oldest] = id
	s.oldest = (s.oldest + 1) % maxSeen
	return true
}
