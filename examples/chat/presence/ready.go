package presence

import "time"

// suspend notes why events don't come in any more. Devices stay for a while,
// since most outages are short, and are sent away then. It reports whether the
// hub was in order before.
func (h *hub) suspend(reason string, timeout time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reason = reason
	if h.dismissal != nil {
		return false
	}
	h.dismissal = time.AfterFunc(timeout, func() {
		h.dismiss(closeAway, "presence has lost NATS: reconnect with your cursor")
	})
	return true
}

// resume notes that all events have been delivered and more come in. It reports
// whether that is new. The position stays that of the last of them: the stream's
// end, which its leader knows, may be beyond what the consumer's replica has yet.
func (h *hub) resume() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reason == "" {
		return false
	}
	h.reason = ""
	if h.dismissal != nil {
		h.dismissal.Stop()
		h.dismissal = nil
	}
	return true
}

// notReady returns why events don't come in, "" if they do.
func (h *hub) notReady() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reason
}
