package gateway

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/examples/chat/token"
)

// tokenLife is how long a demo's token lasts.
const tokenLife = 24 * time.Hour

// issueToken serves POST /v1/demo/token: anybody who opened the page may be
// anybody. A page of another site is refused, also one whose name was made to
// resolve to this machine.
func (g *Gateway) issueToken(r *request) error {
	if !g.Hosts.OwnHost(r.Request) || !g.Hosts.OwnOrigin(r.Request) {
		return errOtherHost
	}
	var who struct {
		User   string `json:"user"`
		Device string `json:"device"`
	}
	if err := r.body(&who); err != nil {
		return err
	}
	if !slices.Contains(members, who.User) {
		return badRequest("user: expected alice, bob or carol")
	}
	if who.Device == "" {
		return badRequest(fmt.Sprintf("device: expected 1 to %d bytes", conversation.MaxDeviceID))
	}
	// The rules for a device's id are the command's, so that it can delete.
	cmd := conversation.Command{CommandID: "-", AppID: g.App, UserID: who.User, DeviceID: who.Device, Conversations: []conversation.Target{{ID: "-"}}}
	if err := cmd.Validate(); err != nil {
		return err
	}
	claims := token.Claims{App: g.App, User: who.User, Device: who.Device, Exp: g.clock().Add(tokenLife).Unix()}
	return r.answer(http.StatusOK, map[string]string{"token": g.Key.Sign(claims)})
}

// reuse serves POST /v1/demo/reuse: it sends a command under the id of an earlier
// one with other content, which the worker refuses. The demo shows with it how a
// failure looks.
func (g *Gateway) reuse(r *request) error {
	var body struct {
		CommandID      string `json:"command_id"`
		ConversationID string `json:"conversation_id"`
	}
	if err := r.body(&body); err != nil {
		return err
	}
	cmd := conversation.Command{
		CommandID: body.CommandID, AppID: r.who.App, UserID: r.who.User, DeviceID: r.who.Device,
		Conversations: []conversation.Target{{ID: body.ConversationID, ThroughSeq: new(int64)}},
	}
	if err := cmd.Validate(); err != nil {
		return err
	}
	if err := g.allow(r, len(cmd.Conversations)); err != nil {
		return err
	}
	if _, err := g.client.Delete(r.Context(), cmd); err != nil {
		return fmt.Errorf("reuse: %w", err)
	}
	return r.answer(http.StatusAccepted, map[string]string{"command_id": cmd.CommandID})
}
