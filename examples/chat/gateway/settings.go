package gateway

import (
	"fmt"
	"net/http"
)

// switches are an app's settings.
type switches struct {
	// MultiClientSync tells all of a user's devices of a deletion.
	MultiClientSync *bool `json:"multi_client_sync"`
}

// settings serves GET /v1/settings.
func (g *Gateway) settings(r *request) error {
	on, err := g.store.multiClientSync(r.Context(), r.who.App)
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	return r.answer(http.StatusOK, switches{&on})
}

// changeSettings serves PUT /v1/settings: for administrators, and in the demo for
// anybody.
func (g *Gateway) changeSettings(r *request) error {
	if !g.Demo && !r.who.Admin {
		return errNotAdmin
	}
	var s switches
	if err := r.body(&s); err != nil {
		return err
	}
	if s.MultiClientSync == nil {
		return badRequest("multi_client_sync: expected true or false")
	}
	if err := g.switchAll(r.Context(), r.who.App, *s.MultiClientSync); err != nil {
		return fmt.Errorf("change settings: %w", err)
	}
	return r.answer(http.StatusOK, s)
}
