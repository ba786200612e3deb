package plan

import (
	"slices"
	"testing"
)

// A word is found where it is one of the name's, and not where another word has it in it.
func TestWordsOfATable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		asked  []string
		in, no []string
	}{
		{
			messageWords,
			[]string{
				"messages", "chatmessages", "ChatMessages", "chat_msgs", "wamsgs", "threadmessages", "messages2", "ofmessagearchive", "userposts", "wp_posts",
				"chat_lines", "direct_messages", "mam_message", "archived_messages",
			},
			[]string{"posters", "postal_codes", "compost", "messaging_channels", "chatlist", "outpost"},
		},
		{
			besideWords,
			[]string{
				"message_reads", "messageReads", "messagereads", "readreceipts", "read_states", "readmarkers", "seenby", "pinned_messages", "message_pins", "starred_messages", "messagestars",
				"profile_files", "liked_messages", "message_voters", "zerver_submessage", "message_embeddings", "shared_links", "polls", "message_edits", "unread_messages",
				"deliveries", "undelivered_messages", "queued_messages", "memberships", "groupmembers", "teammembers", "notification_settings",
			},
			[]string{
				"thread_messages", "threadmessages", "Threads", "starting_messages", "startingmessages", "shipping_messages", "profile_messages", "profilemessages",
				"spreadsheet_messages", "breadcrumb_posts", "remembered_messages", "already_posts", "hashtag_posts", "spinner_msgs", "creditmessages", "pollution_posts",
			},
		},
		{memberWords, []string{"thread_participants", "threadmembers", "memberships", "subscribers", "roomMembers"}, []string{"remember_tokens", "unsubscribed"}},
		{pointerWords, []string{"user_messages", "usermessages", "zerver_usermessage", "messages_users", "message_copies", "inboxes", "deliveries"}, []string{"copyrights"}},
		{fileWords, []string{"files", "uploaded_files", "media", "multimedia_assets", "chatfiles"}, []string{"profiles", "mediation_cases"}},
		{[]string{"mention", "root"}, []string{"mentioncountroot", "mention_unread_count"}, []string{"unreadcount"}},
		{[]string{"user", "account", "profile"}, []string{"zerver_userprofile", "auth_user", "ofUser", "ofuser", "accounts"}, []string{"recounts", "use"}},
	} {
		for _, name := range slices.Concat(c.in, c.no) {
			if got, want := has(name, c.asked), slices.Contains(c.in, name); got != want {
				t.Errorf("%s = %q has one of %q: %v; want %v", name, roots(name), c.asked, got, want)
			}
		}
	}
	for name, want := range map[string]bool{"messages": true, "ChatMsgs": true, "chatlines": true, "message_reactions": false, "messages_2024": false, "posters": false} {
		if got := endsWith(name, messageWords); got != want {
			t.Errorf("%s = %q ends with one of %q: %v; want %v", name, roots(name), messageWords, got, want)
		}
	}
}
